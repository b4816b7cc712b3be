"""Models as ONNX files, each checked with onnxruntime against the NumPy model as it is written."""

import json
from pathlib import Path

import numpy as np

from charrnn.data.formats import saved_format
from charrnn.data.sources import refuse_sources
from charrnn.errors import MachineError, ModelFileError, UsageError, counted
from charrnn.model.shapes import parameter_count, table_size
from charrnn.storage.atomic import write_atomic
from charrnn.storage.blend import numpy_model
from charrnn.storage.model_file import SavedModel
from charrnn.version import __version__

STREAMS, STEPS = 2, 500  # 1,000 symbols
TOLERANCE = 1e-3  # of a logit, relative to the largest one, beyond which a file is not written
MAX_PARAMETERS = 500_000_000  # a file cannot hold more than 2 GB


def write_onnx(saved: SavedModel, path: Path) -> float:
    """Write one step of a model as an ONNX file; see `charrnn.export.onnx_graph`.

    The file's metadata are the strings `config` and `tokenizer` (JSON), `separator` (JSON, null if
    the model is not one of records), `start` (the start symbol), `charrnn` (the version), `sha256`
    (of the model file) and `greatest_difference`.

    Returns:
        The greatest difference between logits of onnxruntime and of the NumPy model over 1,000
        symbols.

    Raises:
        UsageError: The model is too large for the format.
        MachineError: onnx or onnxruntime is not installed, or the file cannot be written.
        ModelFileError: The difference is too large.
    """
    refuse_sources(saved, "An ONNX file")
    count = parameter_count(saved.config) + table_size(saved.config)
    if count > MAX_PARAMETERS:
        most = f"an ONNX file holds at most {MAX_PARAMETERS:,}"
        raise UsageError(f"The model has {counted(count, 'parameter')}; {most}.")
    try:
        import onnxruntime  # noqa: F401

        from charrnn.export.onnx_graph import step_graph
    except ImportError as error:
        message = f"ONNX export needs the package {error.name}, which is not installed."
        raise MachineError(message, "Install it: pip install 'charrnn[onnx]'") from error
    model = step_graph(saved.config, saved.weights)
    difference = greatest_difference(saved, model.SerializeToString())
    facts = {
        "config": json.dumps(saved.config.to_dict()),
        "tokenizer": json.dumps(saved.tokenizer.to_dict()),
        "separator": json.dumps(saved_format(saved.about).separator),
        "start": str(saved.config.vocab_size),
        "charrnn": __version__,
        "sha256": saved.sha256,
        "greatest_difference": f"{difference:.3g}",
    }
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    write_atomic(path, model.SerializeToString())
    return difference


def greatest_difference(saved: SavedModel, graph: bytes) -> float:
    """Return how far onnxruntime's logits are from the NumPy model's.

    Raises:
        ModelFileError: They are so far from them that one of the two must be wrong.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    model = numpy_model(saved)
    state = theirs = model.initial_state(STREAMS)
    ids = np.random.default_rng(1).integers(0, saved.config.vocab_size, (STEPS, STREAMS))
    ids[0] = model.start
    difference, largest = 0.0, 1.0
    for row in ids:
        expected, state = model.step(row, state)
        logits, *theirs = session.run(None, dict(zip(names, [row, *theirs], strict=True)))
        difference = max(difference, float(np.abs(logits - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    if not difference <= TOLERANCE * largest:
        message = (
            f"The graph's logits differ from the model's by {difference:g}; nothing is written."
        )
        raise ModelFileError(message)
    return difference
