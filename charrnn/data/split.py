"""A text split into what trains and what is held out, before anything is learned from it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.data.formats import Select, TextFormat
from charrnn.data.text import Text


@dataclass(frozen=True)
class TextPart:
    """A text, or a part of one, that can be read as often as it takes, in any order with others.

    Attributes:
        text: The whole.
        format: How it is organised.
        select: Takes the part's units out of the whole's chunks.
        characters: Of the part; of the whole if it is not a half.
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
        """Yield chunks or records; `what` is being done with them is told to who follows it."""
        return self.select(self.text.chunks(what))

    def read(self, what: str = "Reading") -> str:
        """Return it in one piece."""
        return "".join(self.units(what))


@dataclass(frozen=True)
class TextSplit:
    """The two parts of a text, and where they come from.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that stands for both parts, in hexadecimal digits.
        format: How the text is organised.
        train: What is learned from.
        valid: What is held out.
        notes: What a person should be told, one line each.
    """

    name: str
    sha256: str
    format: TextFormat
    train: TextPart
    valid: TextPart
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Say all that the two parts depend on."""
        return f"{self.sha256} {self.train.characters} {self.format.separator!r}"


def split_text(
    text: Text, text_format: TextFormat, valid_fraction: float, valid: Text | None = None
) -> TextSplit:
    """Split a text, or take a second one as what is held out.

    Args:
        text: What is learned from.
        text_format: How both are organised.
        valid_fraction: Fraction of the text that is held out, in (0, 0.9]; without a meaning if
            there is a second text.
        valid: All of it is held out.

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
    halves = text_format.halves(text, valid_fraction)
    train = TextPart(text, text_format, halves.train, halves.train_length)
    held_out = TextPart(text, text_format, halves.valid, halves.valid_length)
    return TextSplit(text.name, text.sha256, text_format, train, held_out, halves.notes)
