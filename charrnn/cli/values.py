"""Values on the command line: how they are parsed, and how a shell completes them."""

from collections.abc import Callable
from pathlib import Path

import typer

from charrnn.config.fields import Setting
from charrnn.terminal.console import show_note

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RUNS = Path("checkpoints")
RUN_METAVARS = {"MODEL", "FOLDER"}
DURATIONS = (
    "write 90s, 5m, 1h30m or 1.5h; the units are s, m, h and d, and a bare number is seconds"
)


def parser(setting: Setting, kind: type) -> Callable[[object], object] | None:
    """Return the function that parses a value, or None if Typer does."""
    if setting.metavar == "TIME":
        return parse_duration  # type: ignore[return-value]
    kinds = {int: parse_int, float: parse_float}
    return kinds.get(kind)  # type: ignore[return-value]


def parse_int(text: str | int) -> int:
    """Return a whole number, written as 1000, 1_000 or 1e3, or given as a number by a default."""
    try:
        return int(text)
    except ValueError:
        number = parse_float(text)
    if not number.is_integer():
        raise typer.BadParameter(f"{text!r} is not a whole number.")
    return int(number)


def parse_float(text: str | float) -> float:
    """Return the number that a text stands for."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number.") from None


def parse_duration(text: str | float) -> float:
    """Return a duration in seconds, written as 90, 90s, 5m, 1.5h or 1h30m."""
    total, number = 0.0, ""
    given = str(text).strip().lower()
    wrong = typer.BadParameter(f"{text!r} is not a duration; {DURATIONS}.")
    for character in given + ("" if given[-1:] in SECONDS_PER_UNIT else "s"):
        if character in SECONDS_PER_UNIT and number:
            try:
                total, number = total + float(number) * SECONDS_PER_UNIT[character], ""
            except ValueError:
                raise wrong from None
        else:
            number += character
    if number or not total > 0:
        raise wrong
    if isinstance(text, str) and given[-1:] not in SECONDS_PER_UNIT:
        show_note(f"{given} means {total:g} seconds; {given}m would be minutes.")
    return total


def completion(setting: Setting) -> Callable[[str], list[str]] | None:
    """Return the function that completes a value in a shell, or None if the shell does."""
    if setting.choices:
        return lambda incomplete: [one for one in setting.choices if one.startswith(incomplete)]
    if setting.metavar.removesuffix("...") in RUN_METAVARS:
        return run_folders
    return None


def run_folders(incomplete: str) -> list[str]:
    """Return the run folders in `checkpoints`, or beside what was typed, that begin like it.

    Of a blend, the last member is completed.
    """
    before, plus, incomplete = incomplete.rpartition("+")
    typed = Path(incomplete or ".")
    parent = typed if incomplete.endswith("/") else typed.parent
    try:
        places = (
            {*RUNS.iterdir(), *(parent.iterdir() if incomplete else ())}
            if RUNS.is_dir()
            else {*parent.iterdir()}
        )
    except OSError:
        return []
    runs = (place for place in places if is_run(place))
    return sorted(f"{before}{plus}{run}" for run in runs if str(run).startswith(incomplete))


def is_run(place: Path) -> bool:
    """Return whether a path is a folder with a model or a training state in it."""
    return any((place / f"{name}.safetensors").exists() for name in ("model", "last"))
