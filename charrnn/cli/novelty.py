"""The options of `charrnn novelty`."""

from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import DATA, Encoding, Json, ModelPath, Texts, decimal, whole
from charrnn.cli.sample import MinP, NoRepeat, Temperature, TopK, TopP, given_settings


def novelty(
    model: ModelPath,
    texts: Texts,
    valid_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the text that training held out (default: what the model's training did).",
            parser=decimal,
            metavar="X",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            help="The held-out text, if it was one of its own.",
            metavar="TEXT",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    encoding: Encoding = "utf-8",
    length: Annotated[
        int,
        typer.Option(
            "--length", "-n", help="Symbols to write for the comparison.", parser=whole, metavar="N"
        ),
    ] = 10_000,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    no_repeat: NoRepeat = None,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same sample.", parser=whole, metavar="N")
    ] = 1,
    json_: Json = False,
) -> None:
    """Say how much of a sample stands word for word in the training text, beside text that was held out."""
    options = commands.NoveltyOptions(
        texts=texts,
        valid=valid,
        valid_fraction=valid_fraction,
        encoding=encoding,
        settings=given_settings(locals()),
        seed=seed,
    )
    commands.novelty(model, options, as_json=json_)
