"""What each command does, from options that are already read to results on standard output.

torch is imported inside the functions that need it, so that all others start at once.
"""

from charrnn.commands.files import data, info, read_config, version
from charrnn.commands.gradients import gradients
from charrnn.commands.sample import sample
from charrnn.commands.score import EvalOptions, evaluate
from charrnn.commands.train import TrainOptions, train

__all__ = [
    "EvalOptions",
    "TrainOptions",
    "data",
    "evaluate",
    "gradients",
    "info",
    "read_config",
    "sample",
    "train",
    "version",
]
