"""A text split into a training part and a held-out part, before anything is learned from it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.data.formats import Select, TextFormat
from charrnn.data.text import Text


@dataclass(frozen=True)
class TextPart:
    """A text or a part of one, which can be read any number of times.

    Attributes:
        text: The whole text.
        format: How the text is organised.
        select: Selects the part's units from the text's chunks.
        characters: Number of characters of the part; that of the text for `whole`, even if blank
            records are left out.
    """

    text: Text
    format: TextFormat
    select: Select
    characters: int

    @classmethod
    def whole(cls, text: Text, text_format: TextFormat) -> "TextPart":
        """Return all of a text."""
        return cls(text, text_format, text_format.units, text.characters)

    def units(self, what: str = "Reading") -> Iterator[str]:
        """Yield the part's units; `what` is the label for progress reports."""
        yield from self.select(self.text.chunks(what))
        if self.characters < self.text.characters:  # the rest need not have been read
            self.text.on_progress(what, self.text.characters, self.text.characters)

    def read(self, what: str = "Reading") -> str:
        """Return the part as one string."""
        return "".join(self.units(what))


@dataclass(frozen=True)
class TextSplit:
    """The training part and the held-out part of a text.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that identifies both parts, in hexadecimal digits.
        format: How the text is organised.
        train: The training part.
        valid: The held-out part.
        notes: Messages for the user, one line each.
    """

    name: str
    sha256: str
    format: TextFormat
    train: TextPart
    valid: TextPart
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Everything that the two parts depend on, as a string."""
        return f"{self.sha256} {self.train.characters} {self.format.separator!r}"


def split_text(
    text: Text, text_format: TextFormat, valid_fraction: float, valid: Text | None = None
) -> TextSplit:
    """Split a text, or use a second text as the held-out part.

    Args:
        text: The text.
        text_format: How the text, and a second one, is organised.
        valid_fraction: Fraction of the text that is held out, in (0, 0.9]; ignored if there is a
            second text.
        valid: The second text, which is held out as a whole.

    Raises:
        UsageError: `valid_fraction` is out of range.
        TextError: The text is too short to be split, or does not have this format.
    """
    if valid is not None:
        length, notes = text_format.length(text)
        train = TextPart(text, text_format, text_format.units, length)
        both = hashlib.sha256(f"{text.sha256}{valid.sha256}".encode()).hexdigest()
        held_out = TextPart.whole(valid, text_format)
        return TextSplit(text.name, both, text_format, train, held_out, notes)
    split = text_format.split(text, valid_fraction)
    train = TextPart(text, text_format, split.train, split.train_length)
    held_out = TextPart(text, text_format, split.valid, split.valid_length)
    return TextSplit(text.name, text.sha256, text_format, train, held_out, split.notes)
