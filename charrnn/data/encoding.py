"""Texts as ids, with the sizes of the original text that scores are divided by."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.data.formats import PLAIN, TextFormat
from charrnn.data.mapped import release_pages
from charrnn.data.sketch import Sketch
from charrnn.data.sources import SourceReader, Sources
from charrnn.errors import TextError
from charrnn.sampling.generate import unknown_error
from charrnn.storage.blend import Saved
from charrnn.tokenizers.base import Ids, Tokenizer, to_bytes

BLOCK = 1 << 20  # ids that are processed together
MIN_TOLD = 1000  # characters of a held-out part, of which it can be told what was trained on


@dataclass(frozen=True)
class Encoded:
    """A text as ids.

    Attributes:
        ids: The ids, one-dimensional, of the tokenizer's smallest unsigned type.
        characters: Code points of the original text.
        bytes: UTF-8 bytes of the original text.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0
            (int64); otherwise None.
        sha256: SHA-256 of the original text as UTF-8, in hexadecimal digits.
        sources: If the records have sources, these, in the same order; otherwise None.
    """

    ids: Ids
    characters: int
    bytes: int
    starts: NDArray[np.int64] | None = None
    sha256: str = ""
    sources: Sources | None = None

    def blocks(self, overlap: int) -> Iterator[Ids]:
        """Yield the ids in blocks, each with the first `overlap` ids of the next one."""
        for begin in range(0, len(self.ids), BLOCK):
            yield np.array(self.ids[begin : begin + BLOCK + overlap])
            release_pages(self.ids)


@dataclass(frozen=True)
class EncodedSplit:
    """A text as ids, split into a training part and a held-out part.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that identifies both parts, in hexadecimal digits.
        format: How the text is organised.
        tokenizer: The tokenizer that made the ids.
        train: The training part.
        valid: The held-out part.
        reader: What read the sources of the records, if they have any.
        teacher: A model with this tokenizer whose probabilities are learned besides the text.
    """

    name: str
    sha256: str
    format: TextFormat
    tokenizer: Tokenizer
    train: Encoded
    valid: Encoded
    reader: SourceReader | None = None
    teacher: Saved | None = None

    @property
    def source(self) -> SourceConfig | None:
        """What the records depend on, if they have sources."""
        return None if self.reader is None else self.reader.config

    @property
    def source_tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the sources, if there are any and they are texts or labels."""
        return None if self.reader is None else self.reader.tokenizer

    @property
    def teacher_shapes(self) -> tuple[ModelConfig, ...]:
        """The shapes of the models of which the teacher consists, if there is one."""
        return () if self.teacher is None else tuple(one.config for one in self.teacher.members)

    def tokenizers(self) -> dict[str, Any]:
        """Return the tokenizers as JSON values."""
        both = {"tokenizer": self.tokenizer, "source_tokenizer": self.source_tokenizer}
        return {name: one.to_dict() for name, one in both.items() if one is not None}

    @cached_property
    def sketch(self) -> Sketch:
        """A sketch of the training part."""
        return Sketch.of(self.train.blocks, len(self.train.ids), self.train.characters)

    @property
    def valid_overlap(self) -> float:
        """About which fraction of the held-out part also stands in the training part.

        It is 0 for a part that is too short to tell.
        """
        if self.valid.characters < MIN_TOLD:
            return 0.0
        return self.sketch.share(self.valid.blocks) or 0.0

    @property
    def known(self) -> dict[str, Any]:
        """What a model stores to know this text again, as JSON values."""
        return {"sketch": self.sketch.to_dict(), "valid_sha256": self.valid.sha256}


@dataclass(frozen=True)
class EncodedSize:
    """The size of a text that was encoded.

    Attributes:
        ids: Number of ids.
        characters: Code points of the text.
        bytes: UTF-8 bytes of the text.
        records: Number of records; 0 for a text without records.
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
    """

    ids: int
    characters: int
    bytes: int
    records: int
    sha256: str


def encode_text(tokenizer: Tokenizer, text: str, text_format: TextFormat = PLAIN) -> Encoded:
    """Return a text as ids; `charrnn.data.id_cache` does this for texts of any size.

    Raises:
        TextError: The text has a lone surrogate, or has no record.
    """
    pieces, dtype = list[bytes](), tokenizer.dtype
    size, starts = write_ids(tokenizer, text_format.units([text]), text_format, pieces.append)
    ids = np.frombuffer(b"".join(pieces), dtype)
    return Encoded(ids, size.characters, size.bytes, starts, size.sha256)


def write_ids(
    tokenizer: Tokenizer,
    units: Iterable[str],
    text_format: TextFormat,
    write: Callable[[bytes], object],
) -> tuple[EncodedSize, NDArray[np.int64] | None]:
    """Encode a text piece by piece.

    Args:
        tokenizer: The tokenizer.
        units: The text, in the units of its format.
        text_format: How the text is organised.
        write: Takes the raw bytes of some ids at a time.

    Returns:
        The size of the text, and where each record begins among the ids; None without records.

    Raises:
        TextError: The text can no longer be read, or has changed; or it has no record.
    """
    measure, starts, length = _Measure(), array("q"), 0
    for ids, offsets in text_format.encode_stream(tokenizer, measure.units(units)):
        starts.extend(length + offset for offset in offsets)
        write(ids.tobytes())
        length += len(ids)
    if text_format.separator is not None and not starts:
        raise TextError("There is no record in the text: it is blank.")
    sha256 = measure.digest.hexdigest()
    size = EncodedSize(length, measure.characters, measure.bytes, len(starts), sha256)
    return size, np.frombuffer(starts, np.int64) if starts else None


class _Measure:
    """Counts and hashes the units of a text while they are being encoded."""

    def __init__(self) -> None:
        self.characters = self.bytes = 0
        self.digest = hashlib.sha256()

    def units(self, units: Iterable[str]) -> Iterator[str]:
        for unit in units:
            data = to_bytes(unit)
            self.digest.update(data)
            self.characters += len(unit)
            self.bytes += len(data)
            yield unit


def unknown_characters(tokenizer: Tokenizer, chunks: Iterable[str]) -> list[str]:
    """Return the distinct characters of a text that a tokenizer does not know, in text order."""
    found = (one for chunk in chunks for one in tokenizer.unknown_characters(chunk))
    return list(dict.fromkeys(found))


def refuse_unknown(tokenizer: Tokenizer, chunks: Iterable[str], where: str) -> None:
    """Raise `TextError` if a text has characters that a tokenizer does not know.

    Args:
        tokenizer: A model's tokenizer.
        chunks: The text.
        where: The name of the text in the error message.
    """
    if unknown := unknown_characters(tokenizer, chunks):
        raise unknown_error(unknown, where, "`unknown` charge to score them too")


def count(ids: NDArray[np.integer[Any]], symbol: int) -> int:
    """Return how often `symbol` occurs in `ids`."""
    found = 0
    for begin in range(0, len(ids), BLOCK):
        found += int(np.count_nonzero(ids[begin : begin + BLOCK] == symbol))
        release_pages(ids)
    return found


def greatest(ids: NDArray[np.integer[Any]]) -> int:
    """Return the greatest of some ids, rounded down; -1 if there are none."""
    found = -1
    for begin in range(0, len(ids), BLOCK):
        found = max(found, int(ids[begin : begin + BLOCK].max()))
        release_pages(ids)
    return found
