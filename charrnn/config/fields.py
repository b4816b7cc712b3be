"""Settings that are declared once: type, default, meaning and range in one place.

The command line builds its options and help from these declarations, a configuration checks itself
against them when it is created, and errors name settings in backticks, as in `seq_len`.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from charrnn.errors import UsageError

KIND_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    tuple: "a list",
    Path: "a path",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is declared about a field besides its type and default.

    Attributes:
        meaning: One sentence without a full stop; also its help on the command line.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: A value that the field must exceed.
        choices: The strings allowed, if the field is one of several names.
        group: Heading under which the command line's help lists it.
        flags: Its flags on the command line, if they do not follow from its name.
        metavar: Placeholder for its value in the help.
        default_note: The default as the help words it, if the value alone does not tell.
        positional: Whether the command line takes it as an argument.
    """

    meaning: str = ""
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    choices: tuple[str, ...] = ()
    group: str = ""
    flags: tuple[str, ...] = ()
    metavar: str = ""
    default_note: str = ""
    positional: bool = False


def option(default: Any, meaning: str, **more: Any) -> Any:
    """Declare a field; `more` sets the other attributes of its `Setting`."""
    return field(default=default, metadata={"setting": Setting(meaning=meaning, **more)})


def argument(meaning: str, metavar: str, default: Any = MISSING) -> Any:
    """Declare a field that the command line takes as an argument."""
    return option(default, meaning, metavar=metavar, positional=True)


def settings_of(*kinds: type, without: tuple[str, ...] = ()) -> Any:
    """Declare a field for settings of other configurations: a dictionary of those that were given.

    Args:
        kinds: The configurations.
        without: Names of their fields that cannot be given.
    """
    return field(default_factory=dict, metadata={"kinds": kinds, "without": without})


def part(kind: type, meaning: str) -> Any:
    """Declare an optional field that is itself a configuration of type `kind`, or None."""
    return field(default=None, metadata={"setting": Setting(meaning=meaning), "part": kind})


def declared(kind: type) -> dict[str, Setting]:
    """Return what `option` declared about each field of a dataclass, by name."""
    found = {spec.name: spec.metadata.get("setting") for spec in fields(kind)}
    return {name: setting for name, setting in found.items() if setting is not None}


def parts_of(kind: type) -> dict[str, Any]:
    """Return the configurations that are fields of another, declared by `part`, by name."""
    return {spec.name: spec.metadata["part"] for spec in fields(kind) if "part" in spec.metadata}


class Checked:
    """Base of dataclasses whose fields are declared by `option` and checked on creation."""

    def __post_init__(self) -> None:
        """Raise `UsageError` at the first field of a wrong type or out of range."""
        hints, settings = get_type_hints(type(self)), declared(type(self))
        for name, setting in settings.items():
            check_field(name, getattr(self, name), hints[name], setting)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, without those `part`s that are None."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        for name in parts_of(type(self)):
            if values[name] is None:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Rebuild from what `to_dict` returned; missing fields take their defaults.

        Raises:
            UsageError: `values` is not a mapping, a name is unknown, or a value is out of range.
        """
        if not isinstance(values, dict):
            found = type(values).__name__
            raise UsageError(f"{cls.__name__}: expected a table of settings, found {found}.")
        check_names(values, declared(cls))
        parts = parts_of(cls)
        return cls(
            **{
                name: parts[name].from_dict(value) if name in parts else value
                for name, value in values.items()
            }
        )


def check_names(values: Mapping[Any, Any], known: Mapping[str, Any]) -> None:
    """Raise `UsageError` at the first key of `values` that is not in `known`."""
    for name in values:
        if name not in known:
            message = f"Unknown setting {str(name)[:80]!r}."
            raise UsageError(message, meant=(str(name), known))


def check_field(name: str, value: Any, kind: Any, setting: Setting) -> None:
    """Raise `UsageError` unless `value` is of type `kind` and in the range of `setting`."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return
    wanted = next(get_origin(each) or each for each in kinds if each is not NoneType)
    if not _is_of(value, wanted):
        found = KIND_NAMES.get(wanted, "a table of settings")
        raise UsageError(f"`{name}` must be {found}, not {shorten(value)}.")
    if setting.choices and value not in setting.choices:
        known = ", ".join(setting.choices)
        message = f"`{name}` must be one of {known}, not {shorten(value)}."
        raise UsageError(message, meant=(value, setting.choices))
    if isinstance(value, (int, float)) and not _is_in_range(value, setting):
        raise UsageError(f"`{name}` must be {_range_text(setting)}, not {shorten(value)}.")


def check_number(name: str, value: Any, *, low: int, high: float = math.inf) -> None:
    """Raise `UsageError` unless `value` is a whole number from `low` to `high`."""
    check_field(name, value, int, Setting(low=low, high=high))


def _is_of(value: Any, wanted: type) -> bool:
    if wanted is Path:
        return isinstance(value, Path)
    return type(value) is wanted or (wanted is float and type(value) is int)  # True is not 1 here


def _is_in_range(value: float, setting: Setting) -> bool:
    finite = abs(value) <= sys.float_info.max  # unlike math.isfinite, accepts integers of any size
    return bool(setting.low <= value <= setting.high and value > setting.above and finite)


def _range_text(setting: Setting) -> str:
    low, high, above = setting.low, setting.high, setting.above
    least = f"greater than {above}" if above > -math.inf else f"at least {low}"
    return least if high == math.inf else f"{least} and at most {high}"


def shorten(value: Any, length: int = 40) -> str:
    """Return the repr of `value`, cut off after `length` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."
