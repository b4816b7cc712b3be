"""Reading what people type, and the options that are declared beside the fields of a configuration."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.config.presets import CELL_SETTLED, SETTLED
from charrnn.config.schema import DynamicConfig, ModelConfig, TrainConfig, flag
from charrnn.sampling import SamplingConfig

SPECS = {
    spec.name: spec
    for kind in (ModelConfig, TrainConfig, SamplingConfig, DynamicConfig)
    for spec in fields(kind)
}


def whole(text: str | int) -> int:
    """Read a whole number; 1_000 and 1e3 are fine.

    A default, which is a number already, comes here too.
    """
    try:
        return int(text)
    except ValueError:
        number = decimal(text)
    if not number.is_integer():
        raise typer.BadParameter(f"{text!r} is not a whole number.")
    return int(number)


def decimal(text: str | float) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number.") from None


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read a duration: 90, 90s, 5m, 1.5h, 1h30m."""
    total, number = 0.0, ""
    given = text.strip().lower()
    for character in given + ("" if given[-1:] in UNITS else "s"):
        if character in UNITS and number:
            total, number = total + decimal(number) * UNITS[character], ""
        else:
            number += character
    if number or total <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m.")
    return total


def setting(name: str, panel: str, kind: type = str, *flags: str, metavar: str = "") -> Any:
    """Declare the option of a configuration's field.

    Its help and choices stand beside the field.
    """
    spec, meaning = SPECS[name].metadata, SPECS[name].metadata["meaning"]
    parser = {int: whole, float: decimal}.get(kind)
    metavar = (
        metavar or "|".join(spec["choices"]) or {int: "N", float: "X", str: "TEXT", bool: ""}[kind]
    )
    names = flags or (flag(name) + (f"/{flag(f'no_{name}')}" if kind is bool else ""),)
    extra: dict[str, Any] = {} if kind is bool else {"parser": parser, "metavar": metavar}
    return typer.Option(
        *names,
        help=f"{meaning}{default_shown(name)}.",
        rich_help_panel=panel,
        show_default=False,
        **extra,
    )


def default_shown(name: str) -> str:
    """Say what holds if an option is not given."""
    default = SPECS[name].default
    if name in SETTLED:
        return " (default: what fits the text and the time)"
    if default is None or default == ():
        return ""
    more = ", but what suits the cell for mingru and minlstm" if name in CELL_SETTLED else ""
    return (
        f" (default: {'on' if default is True else 'off' if default is False else default}{more})"
    )


MODEL, DATA, LEARN, LENGTH, REPORT = (
    "Model",
    "Text and batches",
    "Learning",
    "Length",
    "Reports and files",
)
WRITE, COMPUTE = "Writing", "Computing"
BASELINES, DYNAMIC, DETAIL = "Baselines", "Dynamic evaluation", "Where the text surprises the model"
Texts = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="UTF-8 files (.gz, .bz2, .xz too), folders, or - for standard input.",
        show_default=False,
    ),
]
ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run folder or a model file.", show_default=False)
]
Encoding = Annotated[
    str,
    typer.Option(
        help="Encoding of the text, if it is not UTF-8.", metavar="NAME", rich_help_panel=DATA
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")]
ScoredShare = Annotated[
    float | None,
    typer.Option(
        help="Score only this share of the text, as training divides it: 0.1 is what it held out.",
        parser=decimal,
        metavar="X",
        show_default=False,
    ),
]
Primer = Annotated[
    list[str] | None,
    typer.Option(
        "--train",
        help="Text that the baselines learn from; what --valid-fraction leaves, if not given.",
        metavar="TEXT",
        rich_help_panel=BASELINES,
        show_default=False,
    ),
]
Baselines = Annotated[
    bool | None,
    typer.Option(
        help="Also score uniform, unigram, n-gram, gzip, bz2, xz (default: up to 4 million characters).",
        rich_help_panel=BASELINES,
        show_default=False,
    ),
]
FullPrecision = Annotated[
    str,
    typer.Option(
        help="Number format of the matrix products.",
        metavar="fp32|bf16|fp16|auto",
        rich_help_panel=COMPUTE,
    ),
]
