"""Options of the command line, made from what is declared beside the fields of a dataclass.

A command is a function of one dataclass. Each of its fields that `option` declares becomes an option,
or, with `positional`, an argument; a field that is a dataclass itself adds its own; and a field with
`settings` takes the fields of some configurations, and holds those that were given.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import typer

from charrnn.config.fields import Setting
from charrnn.training.request import TrainRequest

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def as_command(function: Callable[[Any], None]) -> Callable[..., None]:
    """Return what Typer takes for a command: a function of keywords, with their options."""
    (kind,) = (hint for name, hint in get_type_hints(function).items() if name != "return")
    parameters = list(parameters_of(kind))

    def command(**given: Any) -> None:
        function(build(kind, given))

    command.__name__, command.__doc__ = function.__name__, with_flags(function.__doc__ or "")
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def parameters_of(kind: type) -> Iterator[inspect.Parameter]:
    """Yield a parameter for each option of a dataclass of options."""
    hints = get_type_hints(kind)
    for spec in fields(kind):
        if "setting" in spec.metadata:
            yield parameter(spec, hints[spec.name], given_only=False)
        elif "kinds" in spec.metadata:
            for one, hint in settings_in(spec):
                yield parameter(one, hint, given_only=True)
        elif is_dataclass(hints[spec.name]):
            yield from parameters_of(hints[spec.name])


def settings_in(spec: Field[Any]) -> Iterator[tuple[Field[Any], Any]]:
    """Yield the fields of configurations that can be given, those in a group, and their types."""
    for config in spec.metadata["kinds"]:
        hints = get_type_hints(config)
        for one in fields(config):
            if one.metadata["setting"].group and one.name not in spec.metadata["without"]:
                yield one, hints[one.name]


def build(kind: type, given: dict[str, Any]) -> Any:
    """Return the dataclass of what was given on the command line."""
    hints, values = get_type_hints(kind), dict[str, Any]()
    for spec in fields(kind):
        if "setting" in spec.metadata:
            values[spec.name] = _as_field(given[spec.name], hints[spec.name], spec)
        elif "kinds" in spec.metadata:
            settings = {one.name: given[one.name] for one, _ in settings_in(spec)}
            values[spec.name] = {n: one for n, one in settings.items() if one not in (None, [])}
        elif is_dataclass(hints[spec.name]):
            values[spec.name] = build(hints[spec.name], given)
    return kind(**values)


def _as_field(value: Any, hint: Any, spec: Field[Any]) -> Any:
    if get_origin(hint) is tuple:
        return tuple(value or ())
    return spec.default if value is None and spec.default is not MISSING else value


def parameter(spec: Field[Any], hint: Any, *, given_only: bool) -> inspect.Parameter:
    """Return the option of a field.

    Args:
        spec: The field.
        hint: Its type.
        given_only: It is None unless it is given.
    """
    setting: Setting = spec.metadata["setting"]
    kind = base_type(hint)
    required = setting.positional and spec.default is MISSING
    default = ... if required else None if given_only or kind is bool else spec.default
    default = None if default == () else default
    annotation: Any = list[str] if get_origin(hint) is tuple else kind
    if not required:
        annotation = annotation | None
    info: dict[str, Any] = {"help": help_text(spec, given_only), "show_default": False}
    if kind is not bool:
        info |= {"metavar": metavar(setting, kind), "parser": parser(setting, kind)}
    if setting.positional:
        declared: Any = typer.Argument(default, **info)
    else:
        both = kind is bool and (given_only or spec.default is not False)
        names = setting.flags or (flag(spec.name) + f"/{flag(f'no_{spec.name}')}" * both,)
        declared = typer.Option(default, *names, rich_help_panel=setting.group or None, **info)
    return inspect.Parameter(
        spec.name, inspect.Parameter.KEYWORD_ONLY, default=declared, annotation=annotation
    )


def base_type(hint: Any) -> type:
    """Return a field's type without None: `int` of `int | None`, `str` of `tuple[str, ...]`."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind: type = next(one for one in kinds if one is not NoneType)
    inner: type = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return inner


def metavar(setting: Setting, kind: type) -> str:
    """Return what stands for a value in the help."""
    names = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
    return setting.metavar or "|".join(setting.choices) or names[kind]


def parser(setting: Setting, kind: type) -> Callable[[Any], Any] | None:
    """Return what reads a value."""
    if setting.metavar == "TIME":
        return duration
    return {int: whole, float: decimal}.get(kind)


def help_text(spec: Field[Any], given_only: bool) -> str:
    """Return a field's meaning, and what holds if it is not given."""
    setting: Setting = spec.metadata["setting"]
    default = spec.default
    shown = "on" if default is True else "off" if default is False and given_only else default
    nothing = default in (None, (), MISSING) or (default is False and not given_only)
    note = setting.default_note or ("" if nothing else f"{shown}")
    return with_flags(f"{setting.meaning}{f' (default: {note})' if note else ''}.")


OWN_FLAGS: dict[str, str] = {
    spec.name: next(flag for flag in spec.metadata["setting"].flags if flag.startswith("--"))
    for spec in fields(TrainRequest)
    if "setting" in spec.metadata and spec.metadata["setting"].flags
}


def with_flags(text: str) -> str:
    """Write settings, which stand in backticks, as the command line calls them."""
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda found: flag(found[1]), text)


def flag(name: str) -> str:
    """Return what the command line calls a setting."""
    return OWN_FLAGS.get(name, f"--{name.replace('_', '-')}")


def whole(text: str | int) -> int:
    """Read a whole number; 1_000 and 1e3 are fine. A default, which is one already, comes too."""
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


def duration(text: str | float) -> float:
    """Read a duration in seconds: 90, 90s, 5m, 1.5h, 1h30m."""
    total, number = 0.0, ""
    given = str(text).strip().lower()
    for character in given + ("" if given[-1:] in UNITS else "s"):
        if character in UNITS and number:
            total, number = total + decimal(number) * UNITS[character], ""
        else:
            number += character
    if number or total <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m.")
    return total
