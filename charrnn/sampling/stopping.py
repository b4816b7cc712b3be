"""Where a text ends: at a stop string, or after some number of characters, lines or sentences."""

from collections.abc import Sequence

from charrnn.config.sampling import SamplingConfig
from charrnn.tokenizers import Tokenizer


class Detokenizer:
    """Turns one stream's symbols into text, until the text ends.

    Attributes:
        fed: Number of symbols fed.
        stop: What ends the text; nothing may be fed after it is `reached`.
        skip: Characters left to skip before the text begins.

    Args:
        tokenizer: The model's tokenizer.
        config: Where the text ends.
        skip: Characters at the beginning that do not belong to the text.
    """

    def __init__(self, tokenizer: Tokenizer, config: SamplingConfig, skip: int = 0) -> None:
        self.decoder = tokenizer.decoder()
        self.stop = StopCondition(config)
        self.fed = 0
        self.skip = skip

    def feed(self, symbol: int) -> str:
        """Take the next symbol and return the text that is now certain, which may be empty."""
        self.fed += 1
        return self.stop.feed(self._after_skipped(self.decoder.feed(symbol)))

    def flush(self) -> str:
        """Return what was held back, after the last symbol."""
        return self.stop.feed(self._after_skipped(self.decoder.flush())) + self.stop.flush()

    def _after_skipped(self, text: str) -> str:
        new = text[self.skip :]
        self.skip -= len(text) - len(new)
        return new


class StopCondition:
    """Passes text through up to a stop string or the length asked for."""

    def __init__(self, config: SamplingConfig) -> None:
        self.strings = StopStringFilter(config.stop)
        self.units = UnitLimit(*config.units) if config.until else None
        self.left = config.length

    @property
    def ended(self) -> bool:
        """Whether the text came to a stop string, or to the number of units asked for."""
        return self.strings.found or (self.units is not None and self.units.left == 0)

    @property
    def reached(self) -> bool:
        """Whether the text is over, be it by its length; nothing is passed through after that."""
        return self.ended or self.left == 0

    def feed(self, piece: str) -> str:
        """Take the next piece of text and return what is now certain, which may be empty."""
        return "" if self.reached else self._count(self.strings.feed(piece))

    def flush(self) -> str:
        """Return what was held back, after the last piece."""
        return "" if self.reached else self._count(self.strings.held)

    def _count(self, text: str) -> str:
        if self.units:
            text = self.units.feed(text)
        text = text[: self.left]
        self.left -= len(text)
        return text


class StopStringFilter:
    """Passes text through up to the first stop string.

    Only what may be the beginning of a stop string is held back. Of several stop strings, the one
    that is complete first counts, and of those that are complete at the same time, the longest.

    Attributes:
        held: The end of the text so far, as long as it may be the beginning of a stop string.
        found: Whether a stop string was found; nothing is passed through after that.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """Take the next piece of text and return what is known not to belong to a stop string."""
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
    """Return the length of the longest end of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next(size for size in range(longest, -1, -1) if text.endswith(stop[:size]))


END_MARKS = ".!?\u2026"
WIDE_END_MARKS = "\u3002\uff01\uff1f"  # need no white space after them
CLOSING_MARKS = "\"')]}\u2019\u201d\u00bb\u300d\u300f\uff09"


class UnitLimit:
    """Passes text through up to a number of lines or sentences.

    A line ends before its line break; lines of white space are not counted. A sentence ends with
    . ! ? or an ellipsis, and any closing quotes and brackets, if white space follows, or with the
    wide forms of these marks, whatever follows. An abbreviation may count as the end of a sentence.
    The rest of the prompt's last line or sentence counts as one.

    Args:
        left: Number of lines or sentences, counted down to 0.
        unit: "line" or "sentence".
    """

    def __init__(self, left: int, unit: str) -> None:
        self.left = left
        self._ends_before = self._line_ends if unit == "line" else self._sentence_ends
        self._line_has_text = False  # whether the line has more than white space
        self._end_mark = ""  # the mark with which the sentence may just have ended

    def feed(self, piece: str) -> str:
        """Take the next piece of text and return its part up to the limit."""
        for place, character in enumerate(piece):
            self.left -= self._ends_before(character)
            if self.left == 0:
                return piece[:place]
        return piece

    def _line_ends(self, character: str) -> bool:
        ends = character == "\n" and self._line_has_text
        has_text = self._line_has_text or not character.isspace()
        self._line_has_text = character != "\n" and has_text
        return ends

    def _sentence_ends(self, character: str) -> bool:
        if self._end_mark and character in CLOSING_MARKS:
            return False
        after_wide = self._end_mark in WIDE_END_MARKS and character not in WIDE_END_MARKS
        ends = bool(self._end_mark) and (character.isspace() or after_wide)
        self._end_mark = character if character in END_MARKS + WIDE_END_MARKS else ""
        return ends
