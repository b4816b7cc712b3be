"""The options of `charrnn eval`."""

from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import COMPUTE, Encoding, Json, ModelPath, Texts, decimal, setting, whole


def evaluate(
    model: ModelPath,
    texts: Texts,
    valid_fraction: Annotated[
        float | None,
        typer.Option(
            help="Score only this share of the text, at its end: 0.1 is what training held out.",
            parser=decimal,
            metavar="X",
            show_default=False,
        ),
    ] = None,
    reset_every: Annotated[
        int | None,
        typer.Option(
            help="Forget the context after every so many tokens, as transformers are scored.",
            parser=whole,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score in one serial pass, not in parallel segments with warm-up.")
    ] = False,
    unknown: Annotated[
        str, typer.Option(help="Charge unknown characters honestly, or refuse them.", metavar="charge|error")
    ] = "charge",
    device: Annotated[str | None, setting("device", COMPUTE)] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of the matrix products.", metavar="fp32|bf16|fp16|auto", rich_help_panel=COMPUTE
        ),
    ] = "fp32",
    threads: Annotated[int | None, setting("threads", COMPUTE, int)] = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Score a text: perplexity, bits per character and per byte."""
    options = commands.EvalOptions(
        texts=texts,
        encoding=encoding,
        valid_fraction=valid_fraction,
        reset_every=reset_every,
        exact=exact,
        unknown=unknown,
        device=device or "auto",
        precision=precision,
        threads=threads,
    )
    commands.evaluate(model, options, as_json=json_)
