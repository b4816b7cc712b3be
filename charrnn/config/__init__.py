"""What a model is and how it is trained: typed, frozen settings. Does not import torch."""
