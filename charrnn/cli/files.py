"""The options of `charrnn info` and `charrnn data`."""

from pathlib import Path
from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import Json, ModelPath


def info(model: ModelPath, json_: Json = False) -> None:
    """Show what is in a model."""
    commands.info(model, as_json=json_)


def data(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Which text; without it, the names there are.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where to write it.", metavar="FOLDER")] = Path("data"),
) -> None:
    """Write a text to try things on into data/."""
    commands.data(name, folder)
