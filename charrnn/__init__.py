"""charrnn: train recurrent language models on a text, sample from them, and learn how well they predict.

    from charrnn import load

    model = load("checkpoints/shakespeare")
    print(model.generate("ROMEO:", length=200, seed=1))
    print(model.score("To be, or not to be").bits_per_char)

Importing this package imports neither torch nor anything else that is slow: names are looked up when first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Model, load
    from charrnn.config import ModelConfig, TrainConfig
    from charrnn.errors import (
        CharRNNError,
        DivergedError,
        InterruptedRun,
        MachineError,
        ModelFileError,
        TextError,
        UsageError,
    )
    from charrnn.sampling import SamplingConfig
    from charrnn.scoring import Score, ScoringProtocol

_HOMES = {
    "CharRNNError": "errors",
    "DivergedError": "errors",
    "InterruptedRun": "errors",
    "MachineError": "errors",
    "Model": "api",
    "ModelConfig": "config",
    "ModelFileError": "errors",
    "SamplingConfig": "sampling",
    "Score": "scoring",
    "ScoringProtocol": "scoring",
    "TextError": "errors",
    "TrainConfig": "config",
    "UsageError": "errors",
    "load": "api",
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
]

try:
    __version__ = version("charrnn")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    return getattr(import_module(f"charrnn.{_HOMES[name]}"), name)
