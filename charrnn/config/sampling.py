"""Settings of sampling: how new text is drawn, and where it ends."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charrnn.config.fields import (
    Checked,
    Setting,
    check_field,
    check_names,
    check_number,
    declared,
    option,
    shorten,
)
from charrnn.errors import UsageError

WRITE, RULES = "Writing", "Sampling rules"
UNKNOWN_MODES = ("error", "skip", "replace")
DRAWING_FIELDS = ("temperature", "top_k", "top_p", "min_p")  # have no meaning in beam search
WINDOW = 1000  # last symbols that no_repeat compares with
MAX_STREAMS = 1 << 16
MAX_BEAMS = 1 << 10
UNTIL = re.compile(r"0*([1-9]\d{0,11}) *(line|sentence)s?")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Checked):
    """How new text is drawn from a model's predictions, and where it ends."""

    length: int = option(
        500,
        "Characters to write at most",
        low=1,
        high=1 << 40,
        group=WRITE,
        flags=("--length", "-n"),
    )
    stop: tuple[str, ...] = option(
        (),
        "End just before this string; may be given several times",
        group=WRITE,
        metavar="TEXT",
    )
    until: str | None = option(
        None,
        "End after this many lines or sentences: 3lines, 1sentence",
        group=WRITE,
        metavar="TEXT",
    )
    unknown: str = option(
        "error",
        "What to do with characters of the prompt that the model does not know",
        choices=UNKNOWN_MODES,
        group=WRITE,
    )
    temperature: float = option(
        0.8,
        "Below 1 safer, above 1 bolder; 0 always takes the most probable symbol",
        low=0,
        high=100,
        group=RULES,
        flags=("--temperature", "-t"),
    )
    top_k: int | None = option(
        None, "Draw only among the N most probable symbols", low=1, group=RULES
    )
    top_p: float | None = option(
        None,
        "Nucleus sampling: draw only among the most probable symbols that together have this "
        "probability",
        above=0,
        high=1,
        group=RULES,
    )
    min_p: float | None = option(
        None,
        "Draw only among symbols at least this fraction as probable as the most probable one",
        above=0,
        high=1,
        group=RULES,
    )
    no_repeat: int | None = option(
        None,
        f"Never write the same N symbols in a row twice within {WINDOW:,} symbols",
        low=2,
        high=WINDOW,
        group=RULES,
    )

    def __post_init__(self) -> None:
        """Check the fields; `stop` may be given as one string, a list or None."""
        stop: Any = self.stop
        stop = (stop,) if isinstance(stop, str) else () if stop is None else stop
        object.__setattr__(self, "stop", tuple(stop) if isinstance(stop, list) else stop)
        super().__post_init__()
        for string in self.stop:
            check_field("stop", string, str, Setting())
            if not string:
                hint = "Leave it out to write `length` characters."
                raise UsageError("`stop` must not be empty.", hint)
        if self.until is not None and not UNTIL.fullmatch(self.until):
            given = shorten(self.until)
            raise UsageError(
                f"`until` must be a number of lines or sentences, such as 3lines, not {given}."
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the configuration of some settings.

        Raises:
            UsageError: A name is unknown, or a value out of range.
        """
        check_names(settings, declared(cls))
        return cls(**settings)

    @property
    def units(self) -> tuple[int, str]:
        """The number and unit that `until` gives, such as (3, "line"); (0, "") if it is None."""
        found = UNTIL.fullmatch(self.until or "")
        return (int(found[1]), found[2]) if found else (0, "")


def check_generation(*, seed: int = 0, num: int = 1, beam: int = MAX_BEAMS) -> None:
    """Raise `UsageError` unless `seed` >= 0, 1 <= `num` <= 65,536 and 1 <= `beam` <= 1,024."""
    check_number("seed", seed, low=0)
    check_number("num", num, low=1, high=MAX_STREAMS)
    check_number("beam", beam, low=1, high=MAX_BEAMS)
