"""How a text is organised: as one stream, or as independent records.

A format decides how the text is cut into units that are encoded separately, which part of it is
held out, and where a generated text ends. Both formats have the same interface, so the rest of the
program rarely has to distinguish them.
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
from charrnn.storage.model_file import about_part
from charrnn.tokenizers.base import Ids, Tokenizer

MAX_VALID_FRACTION = 0.9
BLOCK = 1 << 20  # bytes of ids that are joined into one block

Select = Callable[[Iterable[str]], Iterator[str]]  # selects a part of a text's chunks
EncodedBlock = tuple[Ids, list[int]]  # ids, and the offsets at which records begin


@dataclass(frozen=True)
class FormatSplit:
    """How a format splits a text.

    Attributes:
        train: Selects the training part of the text's chunks.
        valid: Selects the held-out part of the text's chunks.
        train_length: Characters of the training part.
        valid_length: Characters of the held-out part.
        notes: Messages for the user, one line each.
    """

    train: Select
    valid: Select
    train_length: int
    valid_length: int
    notes: tuple[str, ...] = ()


class TextFormat(Protocol):
    """The interface of a text format."""

    @property
    def separator(self) -> str | None:
        """What ends each record; None if the text is one stream."""

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the units that are encoded separately: the chunks, or whole records."""

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids of `units` in blocks, each with the offsets at which records begin."""

    def length(self, text: Text) -> tuple[int, tuple[str, ...]]:
        """Return the number of characters used of a text, and messages for the user.

        Raises:
            TextError: The text does not have this format.
        """

    def split(self, text: Text, valid_fraction: float) -> FormatSplit:
        """Return how to split a text.

        Raises:
            UsageError: `valid_fraction` is not in (0, 0.9].
            TextError: The text is too short, or does not have this format.
        """


@dataclass(frozen=True)
class PlainFormat:
    """One stream of text, the end of which is held out."""

    separator: ClassVar[None] = None

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the chunks."""
        return iter(chunks)

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids, without offsets of records."""
        return ((ids, []) for ids in tokenizer.encode_chunks(units))

    def length(self, text: Text) -> tuple[int, tuple[str, ...]]:
        """Return the length of the text."""
        return text.characters, ()

    def split(self, text: Text, valid_fraction: float) -> FormatSplit:
        """Split the text after a number of characters."""
        length = train_length(text.characters, valid_fraction)
        rest = text.characters - length
        return FormatSplit(
            partial(take_characters, length), partial(skip_characters, length), length, rest
        )


@dataclass(frozen=True)
class RecordFormat:
    """Records, of which those with the lowest hashes are held out; see `charrnn.data.records`.

    Attributes:
        separator: What ends each record.
        keep_blank: Whether blank records are encoded too.
    """

    separator: str
    keep_blank: bool = False

    def units(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the records."""
        return cut_records(chunks, self.separator, keep_blank=self.keep_blank)

    def encode_stream(self, tokenizer: Tokenizer, units: Iterable[str]) -> Iterator[EncodedBlock]:
        """Yield the ids of records that are encoded one by one, so that no token spans two."""
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

    def split(self, text: Text, valid_fraction: float) -> FormatSplit:
        """Split the records by their hashes."""
        fraction = exact_fraction(valid_fraction)
        index = index_records(text.chunks("Finding the records"), self.separator, text.name)
        split = index.split(float(fraction * index.characters))
        return FormatSplit(
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
        about: The model file's facts about training. Older files say nothing about records.

    Raises:
        ModelFileError: The separator is not one that charrnn would write.
    """
    records = about_part(about, "train").get("records")
    if records is not None and (not isinstance(records, str) or not records):
        found = str(records)[:40]
        message = f"The model says that its records end with {found!r}, which is no separator."
        raise ModelFileError(message)
    return text_format(records)


def saved_valid_fraction(about: Mapping[str, Any]) -> float:
    """Return the fraction that was held out according to a model's facts, or the default of 0.1."""
    fraction = about_part(about, "train").get("valid_fraction")
    return fraction if isinstance(fraction, float) else 0.1


def train_length(characters: int, valid_fraction: float) -> int:
    """Return how many characters of a text are for training; the rest, rounded up, is held out.

    Raises:
        UsageError: `valid_fraction` is not in (0, 0.9].
        TextError: One of the parts would have fewer than two characters.
    """
    fraction = exact_fraction(valid_fraction)
    length = math.floor(characters * (1 - fraction))
    if min(length, characters - length) < 2:
        needed = max(math.floor(1 / fraction) + 1, math.ceil(2 / (1 - fraction)))
        need = f"at least {needed} are needed for `valid_fraction` {valid_fraction}"
        raise TextError(
            f"The text has {characters} characters; {need}.",
            "Give more text, another `valid_fraction`, or a separate text for validation with "
            "`valid`.",
        )
    return length


def exact_fraction(valid_fraction: float) -> Fraction:
    """Return the fraction as it is written: in floats, (1 - 0.9) * 10 is less than 1.

    Raises:
        UsageError: It is not in (0, 0.9].
    """
    if not 0 < valid_fraction <= MAX_VALID_FRACTION:
        allowed = f"greater than 0 and at most {MAX_VALID_FRACTION}"
        raise UsageError(f"`valid_fraction` must be {allowed}, not {valid_fraction}.")
    return Fraction(str(valid_fraction))


def take_characters(count: int, chunks: Iterable[str]) -> Iterator[str]:
    """Yield the first `count` characters of a text, which has at least as many."""
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def skip_characters(count: int, chunks: Iterable[str]) -> Iterator[str]:
    """Yield the text after its first `count` characters."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(0, count - len(chunk))
