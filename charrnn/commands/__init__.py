"""What each command does, from options that are already read to results on standard output.

torch is imported inside the functions that need it, so that all others start at once.
"""

from charrnn.commands.ask import EvalOptions, evaluate, info, sample
from charrnn.commands.files import data, read_config, version
from charrnn.commands.train import TrainOptions, train

__all__ = ["EvalOptions", "TrainOptions", "data", "evaluate", "info", "read_config", "sample", "train", "version"]
