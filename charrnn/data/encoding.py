"""A text as ids, with the sizes of the original that scores are divided by."""

import hashlib
import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.formats import PLAIN, TextFormat
from charrnn.errors import TextError
from charrnn.sampling.generate import unknown_error
from charrnn.tokenizers.base import Ids, Tokenizer, to_bytes

BLOCK = 1 << 20  # ids that are looked at together


@dataclass(frozen=True)
class Encoded:
    """A text as ids.

    Attributes:
        ids: One-dimensional, of the tokenizer's smallest unsigned type.
        characters: Code points of the original text.
        bytes: Bytes of the original text as UTF-8.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0; int64.
        sha256: SHA-256 of the original text as UTF-8, in hexadecimal digits.
    """

    ids: Ids
    characters: int
    bytes: int
    starts: NDArray[np.int64] | None = None
    sha256: str = ""


@dataclass(frozen=True)
class EncodedSplit:
    """A text as ids, split into what is learned from and what is held out.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that stands for both parts, in hexadecimal digits.
        format: How the text is organised.
        tokenizer: What made the ids.
        train: What is learned from.
        valid: What is held out.
    """

    name: str
    sha256: str
    format: TextFormat
    tokenizer: Tokenizer
    train: Encoded
    valid: Encoded


@dataclass(frozen=True)
class EncodedSize:
    """How much a pass that encoded a text has written.

    Attributes:
        ids: Ids.
        characters: Code points of the text.
        bytes: Bytes of the text as UTF-8.
        records: Records; 0 if the text has none.
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
    """

    ids: int
    characters: int
    bytes: int
    records: int
    sha256: str


def encode_text(tokenizer: Tokenizer, text: str, text_format: TextFormat = PLAIN) -> Encoded:
    """Turn `text` into ids; `charrnn.data.id_cache` does it for a text of any size.

    Raises:
        TextError: The text has a lone surrogate, or no record.
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
    """Encode a text in a stream.

    Args:
        tokenizer: Makes the ids.
        units: The text, in the units of its format.
        text_format: How the text is organised.
        write: Takes the ids in pieces, as they are in memory.

    Returns:
        How much was written, and where each record begins, or None if there are no records.

    Raises:
        TextError: The text cannot be read any more, or has changed; or it has no record.
    """
    meter, starts, length = _Meter(), array("q"), 0
    for ids, offsets in text_format.encode_stream(tokenizer, meter.watch(units)):
        starts.extend(length + offset for offset in offsets)
        write(ids.tobytes())
        length += len(ids)
    if text_format.separator is not None and not starts:
        raise TextError("There is no record in the text: it is blank.")
    sha256 = meter.digest.hexdigest()
    size = EncodedSize(length, meter.characters, meter.bytes, len(starts), sha256)
    return size, np.frombuffer(starts, np.int64) if starts else None


class _Meter:
    """Counts what passes by."""

    def __init__(self) -> None:
        self.characters = self.bytes = 0
        self.digest = hashlib.sha256()

    def watch(self, units: Iterable[str]) -> Iterator[str]:
        for unit in units:
            data = to_bytes(unit)
            self.digest.update(data)
            self.characters += len(unit)
            self.bytes += len(data)
            yield unit


def unknown_characters(tokenizer: Tokenizer, chunks: Iterable[str]) -> list[str]:
    """Return the distinct characters of a text that a tokenizer does not know, in their order."""
    found = (one for chunk in chunks for one in tokenizer.unknown_characters(chunk))
    return list(dict.fromkeys(found))


def refuse_unknown(tokenizer: Tokenizer, chunks: Iterable[str], where: str) -> None:
    """Raise `TextError` if a text has characters that a tokenizer does not know.

    Args:
        tokenizer: A model's.
        chunks: The text.
        where: What an error calls it.
    """
    if unknown := unknown_characters(tokenizer, chunks):
        raise unknown_error(unknown, where, "`unknown` charge to price them honestly")


def take(ids: NDArray[np.integer[Any]], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `ids[places]`.

    Of a mapped file, no more stays in this process's memory than was there before.
    """
    taken = ids[places].astype(np.int64)
    _release(ids)
    return taken


def count(ids: NDArray[np.integer[Any]], symbol: int) -> int:
    """Return how often `symbol` is among `ids`."""
    found = 0
    for begin in range(0, len(ids), BLOCK):
        found += int(np.count_nonzero(ids[begin : begin + BLOCK] == symbol))
        _release(ids)
    return found


def _release(ids: NDArray[np.integer[Any]]) -> None:
    """Give a mapped file's pages back; the system keeps them at hand as long as it has room."""
    if isinstance(ids.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        ids.base.madvise(mmap.MADV_DONTNEED)
