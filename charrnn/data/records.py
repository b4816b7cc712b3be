"""Records: a text of lines, titles or documents that have nothing to do with each other.

A record ends with its separator, which is part of it: that is how a model learns where a record ends.
What was read need not end with one; the last record is then completed. Blank records, of nothing but
white space, are left out.

Whole records are held out for validation: those whose text has the smallest hash. A list may well be
sorted, so its end would say little about the rest; and records that are equal end up on one side, so
that none is scored that was learned.

A text comes in chunks, and one chunk or one record is in memory, and when a text is split some 50
bytes for each record.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError, UsageError
from charrnn.tokenizers.base import to_bytes

LINES = "lines"
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "0": "\0", "\\": "\\"}


def separator_of(records: str) -> str:
    r"""Return the separator that the setting `records` names.

    That is a line feed for "lines", or else the setting with \n \r \t \f \0 and \\ replaced.

    Raises:
        UsageError: It is empty.
    """
    if not records:
        raise UsageError("`records` needs a separator, but it is empty.", "Try `records` lines.")
    if records == LINES:
        return "\n"
    return re.sub(r"\\([nrtf0\\])", lambda found: ESCAPES[found[1]], records)


def cut_records(chunks: Iterable[str], separator: str) -> Iterator[str]:
    """Yield the records of a text that are not blank, each with its separator.

    The last one is completed. Joined and cut again, they are the same records, wherever the text was
    cut into chunks.
    """
    contents = (content for content, _ in _contents(chunks, separator))
    return (content + separator for content in contents if not is_blank(content))


def is_blank(content: str) -> bool:
    """Return whether there is nothing but white space."""
    return not content or content.isspace()


def _contents(chunks: Iterable[str], separator: str) -> Iterator[tuple[str, bool]]:
    """Yield each record without its separator, and whether that was there.

    Of the last one's, a part may be.
    """
    last = ""
    for chunk in chunks:
        *parts, last = (last + chunk).split(separator)
        yield from ((part, True) for part in parts)
    sizes = range(len(separator) - 1, -1, -1)
    begun = next(size for size in sizes if last.endswith(separator[:size]))
    if len(last) > begun:
        yield last[: len(last) - begun], False


@dataclass(frozen=True)
class RecordIndex:
    """The records of a text, as far as it takes to split them.

    Attributes:
        hashes: The first 64 bits of each one's SHA-256, uint64.
        lengths: Characters of each with its separator, int64.
        blank: How many blank ones were left out.
    """

    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    blank: int

    @property
    def characters(self) -> int:
        """Characters of all records."""
        return int(self.lengths.sum())

    def split(self, wanted: float) -> "RecordSplit":
        """Choose the records to hold out.

        Args:
            wanted: Characters to hold out, rounded to whole records, and one at least on each side.

        Raises:
            TextError: There is one record only.
        """
        hashes, group = np.unique(self.hashes, return_inverse=True)
        if len(hashes) < 2:
            raise TextError(
                "The text has one record only: there is nothing to validate on.",
                "Give a text of its own for validation with `valid`, or check the separator.",
            )
        sizes = np.bincount(group, weights=self.lengths).cumsum()
        nearest = int(np.abs(sizes[:-1] - wanted).argmin())
        return RecordSplit(int(hashes[nearest]), self.characters - int(sizes[nearest]))


@dataclass(frozen=True)
class RecordSplit:
    """Which records are held out.

    Attributes:
        last_hash: Those whose hash is at most this. Equal records have equal hashes.
        train_length: Characters of the others.
    """

    last_hash: int
    train_length: int

    def training(self, records: Iterable[str]) -> Iterator[str]:
        """Yield the records to train on, in their order."""
        return (record for record in records if record_hash(record) > self.last_hash)

    def validation(self, records: Iterable[str]) -> Iterator[str]:
        """Yield the records that are held out, in their order."""
        return (record for record in records if record_hash(record) <= self.last_hash)


def index_records(chunks: Iterable[str], separator: str, name: str) -> RecordIndex:
    """Read a text once to know its records.

    Raises:
        TextError: None ends with the separator, so it is not that of the text `name`; or all are
            blank.
    """
    hashes, lengths, blank, occurs = array("Q"), array("q"), 0, False
    for content, ended in _contents(chunks, separator):
        occurs = occurs or ended
        if is_blank(content):
            blank += 1
            continue
        hashes.append(record_hash(content + separator))
        lengths.append(len(content) + len(separator))
    if not occurs:
        raise TextError(
            f"The separator {separator!r} never occurs in {name}, so it would be one record.",
            r"Records end with it: try `records` lines, or `records` '\n\n' for what blank lines "
            "separate.",
        )
    if not lengths:
        raise TextError(f"There is no record in {name}: all are blank.")
    return RecordIndex(np.frombuffer(hashes, np.uint64), np.frombuffer(lengths, np.int64), blank)


def record_hash(record: str) -> int:
    """Return the first 64 bits of a record's SHA-256."""
    return int.from_bytes(hashlib.sha256(to_bytes(record)).digest()[:8], "big")
