"""The options of `charrnn info`, `charrnn tokenize` and `charrnn data`."""

from pathlib import Path
from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import Json, ModelPath


def info(model: ModelPath, json_: Json = False) -> None:
    """Show what is in a model."""
    commands.info(model, as_json=json_)


def tokenize(
    model: ModelPath,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]",
            help="The text itself; - or nothing reads it from standard input.",
            show_default=False,
        ),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Write a JSON list of ids and texts.")
    ] = False,
) -> None:
    """Show how a model cuts a text into symbols."""
    commands.tokenize(model, text, as_json=json_)


def data(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Which text; without it, the names there are.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where to write it.", metavar="FOLDER")] = Path(
        "data"
    ),
) -> None:
    """Write a text to try things on into data/."""
    commands.data(name, folder)
