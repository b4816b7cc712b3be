"""What leaves the program: a model as a page or an ONNX file, a run as curves or event files."""
