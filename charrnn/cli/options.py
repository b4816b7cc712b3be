"""Command-line options, made from the declarations of a dataclass's fields.

A command is a function of one dataclass. Each field that `option` declares becomes an option, and
each that `argument` declares an argument. A field that is itself a dataclass adds its own fields. A
field declared by `settings_of` adds the fields of some configurations and holds those that were
given.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import typer

from charrnn.cli.help import help_option
from charrnn.cli.values import completion, parser
from charrnn.config.fields import Setting
from charrnn.terminal.console import show_note
from charrnn.training.request import TrainRequest


def as_command(
    function: Callable[[Any], None], common: tuple[str, ...] = ()
) -> Callable[..., None]:
    """Return a command for Typer: a function with one keyword parameter for each option.

    Args:
        function: What the command does; its only parameter is a dataclass of the options.
        common: Names of the options that `--help` shows, if not all; `--help-all` shows all.
    """
    (kind,) = (hint for name, hint in get_type_hints(function).items() if name != "return")
    parameters = list(parameters_of(kind))
    for name in ("help", "help_all") if common else ("help",):
        declared = help_option(name, common)
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=declared, annotation=bool))

    def command(**given: Any) -> None:
        function(build(kind, given))

    command.__name__, command.__doc__ = function.__name__, with_flags(function.__doc__ or "")
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def parameters_of(kind: type) -> Iterator[inspect.Parameter]:
    """Yield a parameter for each option that a dataclass declares."""
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
    """Yield the fields of configurations that are options, with their types.

    Those are the fields in a group that the declaration does not leave out.
    """
    for config in spec.metadata["kinds"]:
        hints = get_type_hints(config)
        for one in fields(config):
            if one.metadata["setting"].group and one.name not in spec.metadata["without"]:
                yield one, hints[one.name]


def build(kind: type, given: dict[str, Any]) -> Any:
    """Return the dataclass with the values that were given on the command line."""
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
        given_only: Its default is None, so that it is known whether it was given.
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
    info["autocompletion"] = completion(setting)
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
    """Return the placeholder for a value in the help."""
    names = {int: "N", float: "X", str: "NAME" if setting.choices else "TEXT", Path: "PATH"}
    return setting.metavar or names[kind]


def help_text(spec: Field[Any], given_only: bool) -> str:
    """Return a field's meaning and its default."""
    setting: Setting = spec.metadata["setting"]
    default = spec.default
    shown = "on" if default is True else "off" if default is False and given_only else default
    nothing = default in (None, (), MISSING) or (default is False and not given_only)
    note = setting.default_note or ("" if nothing else f"{shown}")
    named = all(one in setting.meaning for one in setting.choices)
    more = [] if named else [", ".join(setting.choices)]
    more += [f"default: {note}"] if note else []
    listed = f" ({'; '.join(more)})" if more else ""
    return with_flags(f"{setting.meaning}{listed}.")


SETTING = re.compile(r"(?<![^\s(])`([a-z][a-z0-9_]*)`(?=[.,:;)?]*(?:\s|$))")
CUSTOM_FLAGS: dict[str, str] = {
    spec.name: next(flag for flag in spec.metadata["setting"].flags if flag.startswith("--"))
    for spec in fields(TrainRequest)
    if "setting" in spec.metadata and spec.metadata["setting"].flags
}


def with_flags(text: str) -> str:
    """Replace settings in backticks by their command-line flags; parts of file names stay."""
    return SETTING.sub(lambda found: flag(found[1]), text)


def show_notes(notes: Iterable[str]) -> None:
    """Show notes on standard error, with settings as flags."""
    for note in notes:
        show_note(with_flags(note))


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return CUSTOM_FLAGS.get(name, f"--{name.replace('_', '-')}")
