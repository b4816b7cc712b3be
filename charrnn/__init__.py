"""Train recurrent language models on a text, sample from them, and measure how well they predict.

    from charrnn import load, train

    for event in train("shakespeare.txt", seconds=60):
        print(event)
    model = load("checkpoints/shakespeare")
    print(model.generate("ROMEO:", length=200, seed=1))
    print(model.score("To be, or not to be").bits_per_char)

Importing this package is fast: each name is imported on first use, and torch only when needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Model, load, train
    from charrnn.config.model import ModelConfig
    from charrnn.config.sampling import SamplingConfig
    from charrnn.config.training import TrainConfig
    from charrnn.errors import (
        CharRNNError,
        DivergedError,
        InterruptedRun,
        MachineError,
        ModelFileError,
        TextError,
        UsageError,
    )
    from charrnn.evaluation.score import Score, ScoringProtocol
    from charrnn.version import __version__

_MODULES = {
    "CharRNNError": "errors",
    "DivergedError": "errors",
    "InterruptedRun": "errors",
    "MachineError": "errors",
    "Model": "api",
    "ModelConfig": "config.model",
    "ModelFileError": "errors",
    "SamplingConfig": "config.sampling",
    "Score": "evaluation.score",
    "ScoringProtocol": "evaluation.score",
    "TextError": "errors",
    "TrainConfig": "config.training",
    "UsageError": "errors",
    "__version__": "version",
    "load": "api",
    "train": "api",
}

__all__ = [
    "CharRNNError",
    "DivergedError",
    "InterruptedRun",
    "MachineError",
    "Model",
    "ModelConfig",
    "ModelFileError",
    "SamplingConfig",
    "Score",
    "ScoringProtocol",
    "TextError",
    "TrainConfig",
    "UsageError",
    "__version__",
    "load",
    "train",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(import_module(f"charrnn.{_MODULES[name]}"), name)
