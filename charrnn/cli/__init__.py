"""The command line: one file for each command, with its options and what it does.

No module here imports torch at the top, so that help, usage errors and sampling start at once.
`charrnn.__main__` turns errors into exit codes.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from charrnn.cli.compare import compare
from charrnn.cli.data import data
from charrnn.cli.eval import evaluate
from charrnn.cli.export import export
from charrnn.cli.gradients import gradients
from charrnn.cli.help import help_option
from charrnn.cli.info import info
from charrnn.cli.next import likeliest
from charrnn.cli.novelty import novelty
from charrnn.cli.options import as_command
from charrnn.cli.page import page
from charrnn.cli.plot import plot
from charrnn.cli.runs import runs
from charrnn.cli.sample import sample
from charrnn.cli.tokenize import tokenize
from charrnn.cli.train import COMMON, train
from charrnn.runtime.rendezvous import check_single_process
from charrnn.version import __version__

app = typer.Typer(
    help="Train recurrent language models on a text, sample from them, and measure how well they "
    "predict. Begin with: charrnn train novel.txt",
    epilog="charrnn help COMMAND tells more about one. Exit codes: 0 ok, 1 a bug in "
    "charrnn, 2 usage, 3 the input text, 4 a model file, 5 the "
    "machine (disk, permission, device), 6 training diverged, 130 interrupted, 143 terminated.",
    context_settings={"help_option_names": []},
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, tuple[Callable[[Any], None], str]] = {
    "train": (
        train,
        "Examples: charrnn train shakespeare.txt   |   charrnn train notes/ --preset quick "
        "--cell gru",
    ),
    "sample": (
        sample,
        'Example: charrnn sample checkpoints/shakespeare "ROMEO:" --length 300 --seed 7',
    ),
    "eval": (
        evaluate,
        "Examples: charrnn eval checkpoints/shakespeare held_out.txt --dynamic   |   ... - "
        "--by-line < names.txt",
    ),
    "compare": (
        compare,
        "Example: charrnn compare checkpoints/chars checkpoints/words held_out.txt --train "
        "train.txt",
    ),
    "next": (likeliest, 'Example: charrnn next checkpoints/shakespeare "To be, or not to "'),
    "novelty": (novelty, "Example: charrnn novelty checkpoints/shakespeare shakespeare.txt"),
    "gradients": (
        gradients,
        "Example: charrnn gradients checkpoints/elman checkpoints/lstm held_out.txt --lags 300",
    ),
    "page": (
        page,
        "Example: charrnn page checkpoints/shakespeare shakespeare.txt --valid-fraction 0.1 -o "
        "model.html",
    ),
    "export": (export, "Example: charrnn export checkpoints/shakespeare --onnx model.onnx"),
    "plot": (plot, "Example: charrnn plot checkpoints/lstm checkpoints/gru -o curves.svg"),
    "runs": (runs, "Example: charrnn runs --sort score"),
    "info": (info, "Example: charrnn info checkpoints/shakespeare"),
    "tokenize": (
        tokenize,
        'Example: charrnn tokenize checkpoints/shakespeare "To be, or not to be"',
    ),
    "data": (data, "Example: charrnn data python-prose"),
}
for name, (function, example) in COMMANDS.items():
    app.command(name, epilog=example)(as_command(function, COMMON if name == "train" else ()))


def show_version(wanted: bool) -> None:
    """Write the version and exit."""
    if wanted:
        sys.stdout.write(f"charrnn {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
    help: bool = help_option("help"),
) -> None:
    """Refuse to run any command but `train` in several processes."""
    if context.invoked_subcommand not in (None, "train"):
        check_single_process(str(context.invoked_subcommand))
