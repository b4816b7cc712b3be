"""How a text is organised: as one stream, or as records that have nothing to do with each other.

The two formats have one interface, and nothing else asks which of them a text has: how it is cut into
what is encoded by itself, which part of it is held out, and where a text that a model writes ends.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from charrnn.data.records import cut_records, index_records, separator_of
from charrnn.data.text import Text
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers.base import Ids, Tokenizer

MAX_VALID_FRACTION = 0.9
BLOCK = 1 << 20  # bytes of ids that are put together, where they come in small pieces

Select = Callable[[Iterable[str]], Iterator[str]]  # takes a part out of a text's chunks
EncodedBlock = tuple[Ids, list[int]]  # ids, and the offsets among them where records begin


@dataclass(frozen=True)
class Halves:
    """How a format splits a text.

    Attributes:
        train: Takes the training part out of the text's chunks.
        valid: Takes the held-out part out of them.
        train_length: Characters of the training part.
        valid_length: Characters of the held-out part.
        notes: What a person should be told, one line each.
    """

    train: Select
    valid: Select
    train_length: int
    valid_length: int
    notes: tuple[str, ...] = ()


class TextFormat(Protocol):
    """What a format offers."""

    @property
    def separator(self) -> str | None:
        """What ends each record; None if the text is one stream."""

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield what is encoded by itself: chunks as they come, or whole records."""

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids of `units` in blocks, with where records begin in each."""

    def length(self, text: Text) -> tuple[int, tuple[str, ...]]:
        """Return the characters of a text that is used whole, and what a person should be told.

        Raises:
            TextError: The text does not have this format.
        """

    def halves(self, text: Text, valid_fraction: float) -> Halves:
        """Return how to split a text.

        Raises:
            UsageError: `valid_fraction` is not in (0, 0.9].
            TextError: The text is too short, or does not have this format.
        """


@dataclass(frozen=True)
class PlainFormat:
    """One stream of text, whose end is held out."""

    separator: ClassVar[None] = None

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the chunks."""
        return iter(chunks)

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids; there are no records."""
        return ((ids, []) for ids in tokenizer.encode_chunks(units))

    def length(self, text: Text) -> tuple[int, tuple[str, ...]]:
        """Return the text's length."""
        return text.characters, ()

    def halves(self, text: Text, valid_fraction: float) -> Halves:
        """Split after a number of characters."""
        length = train_length(text.characters, valid_fraction)
        rest = text.characters - length
        return Halves(
            partial(take_characters, length), partial(skip_characters, length), length, rest
        )


@dataclass(frozen=True)
class RecordFormat:
    """Records, of which those of the lowest hash are held out; see `charrnn.data.records`.

    Attributes:
        separator: Ends each.
    """

    separator: str

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the records."""
        return cut_records(chunks, self.separator)

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids of records, encoded one by one: no token reaches from one to the next."""
        waiting, starts, length = list[Ids](), list[int](), 0
        for record in units:
            ids = tokenizer.encode(record)
            starts.append(length)
            waiting.append(ids)
            length += len(ids)
            if length * ids.itemsize >= BLOCK:
                yield np.concatenate(waiting), starts
                waiting, starts, length = [], [], 0
        if waiting:
            yield np.concatenate(waiting), starts

    def length(self, text: Text) -> tuple[int, tuple[str, ...]]:
        """Return the characters of all records that are not blank."""
        index = index_records(text.chunks("Finding the records"), self.separator, text.name)
        return index.characters, _blank_note(index.blank)

    def halves(self, text: Text, valid_fraction: float) -> Halves:
        """Split by the records' hashes."""
        fraction = exact_fraction(valid_fraction)
        index = index_records(text.chunks("Finding the records"), self.separator, text.name)
        split = index.split(float(fraction * index.characters))
        return Halves(
            lambda chunks: split.training(self.units(chunks)),
            lambda chunks: split.validation(self.units(chunks)),
            split.train_length,
            index.characters - split.train_length,
            _blank_note(index.blank),
        )


def _blank_note(blank: int) -> tuple[str, ...]:
    plural = "" if blank == 1 else "s"
    return (f"Left out {blank:,} blank record{plural}.",) if blank else ()


PLAIN = PlainFormat()


def text_format(records: str | None) -> TextFormat:
    """Return the format that the setting `records` names.

    Raises:
        UsageError: It is empty.
    """
    return PLAIN if records is None else RecordFormat(separator_of(records))


def saved_format(about: Mapping[str, Any]) -> TextFormat:
    """Return the format of the text that a model was trained on.

    Args:
        about: What the model file says about itself. Files that know nothing of records are fine.

    Raises:
        ModelFileError: It says what charrnn would not write.
    """
    train = about.get("train")
    records = train.get("records") if isinstance(train, dict) else None
    if records is not None and (not isinstance(records, str) or not records):
        found = str(records)[:40]
        raise ModelFileError(f"The model says that its records end with {found!r}.")
    return text_format(records)


def train_length(characters: int, valid_fraction: float) -> int:
    """Return how many characters of a text are for training; the rest, rounded up, is held out.

    Raises:
        UsageError: `valid_fraction` is not in (0, 0.9].
        TextError: A part would have fewer than two characters, so there would be nothing to predict.
    """
    fraction = exact_fraction(valid_fraction)
    length = math.floor(characters * (1 - fraction))
    if min(length, characters - length) < 2:
        needed = max(math.floor(1 / fraction) + 1, math.ceil(2 / (1 - fraction)))
        need = f"at least {needed} are needed for `valid_fraction` {valid_fraction}"
        raise TextError(
            f"The text has {characters} characters; {need}.",
            "Give more text, another `valid_fraction`, or a text of its own for validation with "
            "`valid`.",
        )
    return length


def exact_fraction(valid_fraction: float) -> Fraction:
    """Return the fraction without rounding: in floats, (1 - 0.9) * 10 is less than 1.

    Raises:
        UsageError: It is not in (0, 0.9].
    """
    if not 0 < valid_fraction <= MAX_VALID_FRACTION:
        allowed = f"greater than 0 and at most {MAX_VALID_FRACTION}"
        raise UsageError(f"`valid_fraction` must be {allowed}, not {valid_fraction}.")
    return Fraction(str(valid_fraction))


def take_characters(count: int, chunks: Iterable[str]) -> Iterator[str]:
    """Yield the first `count` characters of a text, which is at least as long."""
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def skip_characters(count: int, chunks: Iterable[str]) -> Iterator[str]:
    """Yield what follows the first `count` characters of a text."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(0, count - len(chunk))
