"""What can be asked of a text that is to be written."""

import re
from dataclasses import dataclass
from typing import Any

from charrnn.config.schema import Checked, check_field, option
from charrnn.errors import UsageError

UNKNOWN = ("error", "skip", "replace")
DRAWING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
)  # the settings that a search, which draws nothing, does without
WINDOW = 1000  # symbols that no_repeat remembers
MOST_STREAMS = 1 << 16
MOST_BEAMS = 1 << 10
UNTIL = re.compile(r"0*([1-9]\d{0,11}) *(line|sentence)s?")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Checked):
    """How new text is drawn from a model's predictions, and where it ends."""

    length: int = option(500, "Characters to write at most", low=1, high=1 << 40)
    temperature: float = option(
        0.8, "Below 1 safer, above 1 bolder; 0 always takes the likeliest symbol", low=0, high=100
    )
    top_k: int | None = option(None, "Draw among this many likeliest symbols only", low=1)
    top_p: float | None = option(
        None, "Draw among the likeliest symbols that together reach this only", above=0, high=1
    )
    min_p: float | None = option(
        None,
        "Draw only among symbols at least this share as likely as the likeliest",
        above=0,
        high=1,
    )
    no_repeat: int | None = option(
        None,
        f"Write no sequence of this many symbols again within {WINDOW:,} symbols",
        low=2,
        high=WINDOW,
    )
    stop: tuple[str, ...] = option((), "End just before this string; may be given several times")
    until: str | None = option(None, "End after so many lines or sentences: 3lines, 1sentence")
    unknown: str = option(
        "error",
        "What to do with characters of the prompt that are new to the model",
        choices=UNKNOWN,
    )

    def __post_init__(self) -> None:
        """Check the fields; `stop` may be given as one string, a list or None."""
        stop: Any = self.stop
        stop = (stop,) if isinstance(stop, str) else () if stop is None else stop
        object.__setattr__(self, "stop", tuple(stop) if isinstance(stop, list) else stop)
        super().__post_init__()
        for string in self.stop:
            check_field("stop", string, str, whole_number(0))
            if not string:
                raise UsageError(
                    "--stop must not be empty.", "Leave it out to write --length characters."
                )
        if self.until is not None and not UNTIL.fullmatch(self.until):
            given = repr(self.until) if len(self.until) <= 40 else repr(self.until[:37]) + "..."
            raise UsageError(
                f"--until must be a number of lines or sentences, such as 3lines, not {given}."
            )

    @property
    def units(self) -> tuple[int, str]:
        """What `until` asks for: (3, "line") or (2, "sentence"); (0, "") if nothing."""
        found = UNTIL.fullmatch(self.until or "")
        return (int(found[1]), found[2]) if found else (0, "")


def check_run(*, seed: int = 0, num: int = 1, beam: int = MOST_BEAMS) -> None:
    """Raise `UsageError` unless `seed` is at least 0, `num` 1 to 65,536, and `beam` 1 to 1,024."""
    check_field("seed", seed, int, whole_number(0))
    check_field("num", num, int, whole_number(1, MOST_STREAMS))
    check_field("beam", beam, int, whole_number(1, MOST_BEAMS))


def whole_number(low: int, high: float = float("inf")) -> dict[str, Any]:
    """Return what `check_field` should allow."""
    return {"low": low, "high": high, "choices": (), "above": float("-inf")}
