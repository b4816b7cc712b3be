"""Where a text ends: at a stop string, or after so many characters, lines or sentences."""

from collections.abc import Sequence

from charrnn.config.sampling import SamplingConfig
from charrnn.tokenizers import Tokenizer


class Detokenizer:
    """Turns one stream's symbols into text, until that ends.

    Attributes:
        fed: Symbols taken.
        stop: What ends the text; nothing more may be fed once it is `reached`.
        skip: Characters that are still to come before the text begins.

    Args:
        tokenizer: The model's.
        config: Where the text ends.
        skip: Characters that come first, and do not belong to the text.
    """

    def __init__(self, tokenizer: Tokenizer, config: SamplingConfig, skip: int = 0) -> None:
        self.decoder = tokenizer.decoder()
        self.stop = StopCondition(config)
        self.fed = 0
        self.skip = skip

    def feed(self, symbol: int) -> str:
        """Take the next symbol; return the text that is certain now."""
        self.fed += 1
        return self.stop.feed(self._beyond(self.decoder.feed(symbol)))

    def flush(self) -> str:
        """Return what was held back, when no more symbols will come."""
        return self.stop.feed(self._beyond(self.decoder.flush())) + self.stop.flush()

    def _beyond(self, text: str) -> str:
        new = text[self.skip :]
        self.skip -= len(text) - len(new)
        return new


class StopCondition:
    """Lets text through until a stop string, or until it is as long as was asked for.

    Attributes:
        reached: Whether the text has come to its end; nothing is let through from then on.
    """

    def __init__(self, config: SamplingConfig) -> None:
        self.strings = StopStringFilter(config.stop)
        self.units = UnitLimit(*config.units) if config.until else None
        self.left = config.length
        self.reached = False

    def feed(self, piece: str) -> str:
        """Take the next piece of text; return what is certain now."""
        return "" if self.reached else self._count(self.strings.feed(piece))

    def flush(self) -> str:
        """Return what was held back, when no more text will come."""
        return "" if self.reached else self._count(self.strings.held)

    def _count(self, text: str) -> str:
        if self.units:
            text = self.units.feed(text)
        text = text[: self.left]
        self.left -= len(text)
        enough = self.units is not None and self.units.left == 0
        self.reached = self.strings.found or self.left == 0 or enough
        return text


class StopStringFilter:
    """Lets text through until one of the stop strings.

    It holds back only what may yet turn out to be the beginning of one. Of several, the one that is
    complete first counts, and of those that are complete at once the longest.

    Attributes:
        held: The end of what was fed, as far as a stop string begins like it.
        found: Whether a stop string has come; nothing is let through from then on.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """Take the next piece of text; return what is known to stand before a stop string."""
        if not self.stops:
            return piece
        if self.found:
            return ""
        text = self.held + piece
        found = ((text.find(stop), stop) for stop in self.stops)
        places = [(start + len(stop), start) for start, stop in found if start >= 0]
        self.found = bool(places)
        if places:
            _, certain = min(places)
        else:
            certain = len(text) - max(overlap(text, stop) for stop in self.stops)
        self.held = "" if places else text[certain:]
        return text[:certain]


def overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` are a beginning, not all, of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next(size for size in range(longest, -1, -1) if text.endswith(stop[:size]))


ENDS = ".!?\u2026"
WIDE_ENDS = "\u3002\uff01\uff1f"  # need no white space after them
CLOSERS = "\"')]}\u2019\u201d\u00bb\u300d\u300f\uff09"


class UnitLimit:
    """Lets text through until it has so many lines or sentences.

    A line ends before its line break, and one of nothing but white space is not counted. A sentence
    ends after . ! ? or an ellipsis with white space behind it, or after their wide forms with
    anything behind them, closing quotes and brackets included; an abbreviation looks like one. What
    belongs to the prompt's last line or sentence counts as one.

    Args:
        left: How many are still to come; 0 once they have.
        unit: "line" or "sentence".
    """

    def __init__(self, left: int, unit: str) -> None:
        self.left = left
        self._ends_before = self._line_ends if unit == "line" else self._sentence_ends
        self._written = False  # whether the line has anything in it
        self._sign = ""  # with what the sentence has just ended, if it goes no further

    def feed(self, piece: str) -> str:
        """Take the next piece of text; return what belongs to the text."""
        for place, character in enumerate(piece):
            self.left -= self._ends_before(character)
            if self.left == 0:
                return piece[:place]
        return piece

    def _line_ends(self, character: str) -> bool:
        ends = character == "\n" and self._written
        self._written = character != "\n" and (self._written or not character.isspace())
        return ends

    def _sentence_ends(self, character: str) -> bool:
        if self._sign and character in CLOSERS:
            return False
        after_wide = self._sign in WIDE_ENDS and character not in WIDE_ENDS
        ends = bool(self._sign) and (character.isspace() or after_wide)
        self._sign = character if character in ENDS + WIDE_ENDS else ""
        return ends
