"""What each command does, from options that are already read to results on standard output.

torch is imported inside the functions that need it, so that all others start at once.
"""

from charrnn.commands.compare import CompareOptions, compare
from charrnn.commands.evaluate import evaluate
from charrnn.commands.files import data, info, read_config, version
from charrnn.commands.gradients import gradients
from charrnn.commands.novelty import NoveltyOptions, novelty
from charrnn.commands.sample import sample
from charrnn.commands.sample_options import SampleOptions
from charrnn.commands.score import EvalOptions
from charrnn.commands.tokenize import tokenize
from charrnn.commands.train import train
from charrnn.commands.train_options import TrainOptions
from charrnn.runtime.distributed import check_alone

__all__ = [
    "CompareOptions",
    "EvalOptions",
    "NoveltyOptions",
    "SampleOptions",
    "TrainOptions",
    "check_alone",
    "compare",
    "data",
    "evaluate",
    "gradients",
    "info",
    "novelty",
    "read_config",
    "sample",
    "tokenize",
    "train",
    "version",
]
