"""The options of `charrnn gradients`."""

from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import COMPUTE, Encoding, Json, setting, whole


def gradients(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... TEXT",
            help="Run folders or model files, and at the end a UTF-8 file, a folder, or - for standard input.",
            show_default=False,
        ),
    ],
    lags: Annotated[
        int,
        typer.Option(
            help="Steps to look back.", parser=whole, metavar="N", rich_help_panel=COMPUTE
        ),
    ] = 200,
    threads: Annotated[int | None, setting("threads", COMPUTE, int)] = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Show how far back learning reaches: the gradient of a prediction by states further and further in the past."""
    commands.gradients(paths, lags=lags, encoding=encoding, threads=threads, as_json=json_)
