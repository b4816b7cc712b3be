"""The command line: options in, one call down, events out.

`charrnn.__main__` turns errors into exit codes.

Nothing here imports torch at the top, so that help, usage errors and sampling start at once.
"""

from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.files import data, info, tokenize
from charrnn.cli.gradients import gradients
from charrnn.cli.novelty import novelty
from charrnn.cli.sample import sample
from charrnn.cli.score import compare, evaluate
from charrnn.cli.train import train

app = typer.Typer(
    help="Train recurrent language models on a text, sample from them, and learn how well they predict.",
    epilog="Exit codes: 0 ok, 1 a bug in charrnn, 2 usage, 3 the input text, 4 a model file, 5 the machine "
    "(disk, permission, device), 6 training diverged, 130 interrupted, 143 terminated.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

app.command(
    epilog="Examples: charrnn train shakespeare.txt   |   charrnn train notes/ --preset quick --cell gru"
)(train)
app.command(
    epilog='Example: charrnn sample checkpoints/shakespeare "ROMEO:" --length 300 --seed 7'
)(sample)
app.command(
    "eval",
    epilog="Examples: charrnn eval checkpoints/shakespeare held_out.txt --dynamic   |   ... - --by-line < names.txt",
)(evaluate)
app.command(
    epilog="Example: charrnn compare checkpoints/chars checkpoints/words held_out.txt --train train.txt"
)(compare)
app.command(epilog="Example: charrnn novelty checkpoints/shakespeare shakespeare.txt")(novelty)
app.command(
    epilog="Example: charrnn gradients checkpoints/elman checkpoints/lstm held_out.txt --lags 300"
)(gradients)
app.command(epilog="Example: charrnn info checkpoints/shakespeare")(info)
app.command(epilog='Example: charrnn tokenize checkpoints/shakespeare "To be, or not to be"')(
    tokenize
)
app.command(epilog="Example: charrnn data python-docs")(data)


def show_version(wanted: bool) -> None:
    """Write the version and leave."""
    if wanted:
        commands.version()
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and leave.", callback=show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train recurrent language models on a text, sample from them, and learn how well they predict."""
    if context.invoked_subcommand not in (None, "train"):
        commands.check_alone(str(context.invoked_subcommand))
