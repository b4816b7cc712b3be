"""The options of `charrnn eval` and `charrnn compare`."""

from dataclasses import fields
from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import (
    COMPUTE,
    DETAIL,
    DYNAMIC,
    Baselines,
    Encoding,
    FullPrecision,
    Json,
    ModelPath,
    Primer,
    ScoredShare,
    Texts,
    setting,
    whole,
)
from charrnn.config.schema import DynamicConfig


def evaluate(
    model: ModelPath,
    texts: Texts,
    valid_fraction: ScoredShare = None,
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
        bool,
        typer.Option(
            "--exact", help="Score in one serial pass, not in parallel segments with warm-up."
        ),
    ] = False,
    unknown: Annotated[
        str,
        typer.Option(
            help="Charge unknown characters honestly, or refuse them.", metavar="charge|error"
        ),
    ] = "charge",
    train: Primer = None,
    baselines: Baselines = None,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Also score a copy of the model that learns from each segment once it is scored.",
            rich_help_panel=DYNAMIC,
        ),
    ] = False,
    dynamic_lr: Annotated[float | None, setting("dynamic_lr", DYNAMIC, float)] = None,
    dynamic_decay: Annotated[float | None, setting("dynamic_decay", DYNAMIC, float)] = None,
    dynamic_segment: Annotated[int | None, setting("dynamic_segment", DYNAMIC, int)] = None,
    by_line: Annotated[
        bool,
        typer.Option(
            "--by-line",
            help="Score each line by itself, as it comes: nats, bits per character, perplexity, line.",
            rich_help_panel=DETAIL,
        ),
    ] = False,
    by_token: Annotated[
        bool,
        typer.Option(
            "--by-token",
            help="Write each token with its bits, its rank and the entropy.",
            rich_help_panel=DETAIL,
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option(
            "--show", help="Show the text coloured by its surprise.", rich_help_panel=DETAIL
        ),
    ] = False,
    device: Annotated[str | None, setting("device", COMPUTE)] = None,
    precision: FullPrecision = "fp32",
    threads: Annotated[int | None, setting("threads", COMPUTE, int)] = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Score a text: perplexity, bits per character and per byte, and what it costs without the model."""
    given = locals()
    views = [name.replace("_", "-") for name in ("by_line", "by_token", "show") if given[name]]
    learning = {
        spec.name: given[spec.name]
        for spec in fields(DynamicConfig)
        if given[spec.name] is not None
    }
    options = commands.EvalOptions(
        texts=texts,
        train=train or (),
        encoding=encoding,
        valid_fraction=valid_fraction,
        reset_every=reset_every,
        exact=exact,
        unknown=unknown,
        baselines=baselines,
        dynamic=dynamic,
        learning=learning,
        views=views,
        device=device or "auto",
        precision=precision,
        threads=threads,
        json=json_,
    )
    commands.evaluate(model, options)


def compare(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... TEXT",
            help="Models (run folders or model files) and, last, the text.",
            show_default=False,
        ),
    ],
    valid_fraction: ScoredShare = None,
    train: Primer = None,
    baselines: Baselines = None,
    device: Annotated[str | None, setting("device", COMPUTE)] = None,
    precision: FullPrecision = "fp32",
    threads: Annotated[int | None, setting("threads", COMPUTE, int)] = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Score models side by side on one text that none of them was trained on."""
    options = commands.CompareOptions(
        models=paths[:-1],
        texts=[paths[-1]],
        train=train or (),
        encoding=encoding,
        valid_fraction=valid_fraction,
        baselines=baselines,
        device=device or "auto",
        precision=precision,
        threads=threads,
        json=json_,
    )
    commands.compare(options)
