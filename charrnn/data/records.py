"""Records: a text that consists of independent lines, titles or documents.

A record includes the separator at its end, so that a model learns where records end. If the text
does not end with a separator, one is added. Blank records, of nothing but white space, are left
out.

Whole records are held out for validation: those with the smallest hashes. The end of a text would
not do, because lists are often sorted; and equal records always end up on the same side, so that no
record that was learned is scored.

Memory holds one chunk or one record at a time and, when a text is split, about 50 bytes for each
record.
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

    That is a newline for "lines", or else the setting with \n \r \t \f \0 and \\ replaced.

    Raises:
        UsageError: The setting is empty.
    """
    if not records:
        raise UsageError("`records` needs a separator, but it is empty.", "Try `records` lines.")
    if records == LINES:
        return "\n"
    return re.sub(r"\\([nrtf0\\])", lambda found: ESCAPES[found[1]], records)


def cut_records(
    chunks: Iterable[str], separator: str, *, keep_blank: bool = False
) -> Iterator[str]:
    """Yield the records of a text, each with its separator, without blank ones if not wanted.

    The result does not depend on where the text was cut into chunks, and cutting the joined records
    again yields the same records.
    """
    contents = (content for content, _ in _contents(chunks, separator))
    return (content + separator for content in contents if keep_blank or not is_blank(content))


def is_blank(content: str) -> bool:
    """Return whether a record is empty or nothing but white space."""
    return not content or content.isspace()


def _contents(chunks: Iterable[str], separator: str) -> Iterator[tuple[str, bool]]:
    """Yield each record without its separator, and whether the separator was there.

    The last record may end with a part of the separator, which is removed too.
    """
    last = ""
    for chunk in chunks:
        *parts, last = (last + chunk).split(separator)
        yield from ((part, True) for part in parts)
    sizes = range(len(separator) - 1, -1, -1)
    partial = next(size for size in sizes if last.endswith(separator[:size]))
    if len(last) > partial:
        yield last[: len(last) - partial], False


@dataclass(frozen=True)
class RecordIndex:
    """The hashes and lengths of a text's records, which decide how they are split.

    Attributes:
        hashes: The first 64 bits of each record's SHA-256, uint64.
        lengths: Characters of each record with its separator, int64.
        blank: Number of blank records that were left out.
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
            wanted: Characters to hold out, rounded to whole records. Each side gets at least one.

        Raises:
            TextError: There is only one record, or all are equal.
        """
        hashes, group = np.unique(self.hashes, return_inverse=True)
        if len(hashes) < 2:
            raise TextError(
                "The text has only one record: there is nothing to validate on.",
                "Give a separate text for validation with `valid`, or check the separator.",
            )
        sizes = np.bincount(group, weights=self.lengths).cumsum()
        nearest = int(np.abs(sizes[:-1] - wanted).argmin())
        return RecordSplit(int(hashes[nearest]), self.characters - int(sizes[nearest]))


@dataclass(frozen=True)
class RecordSplit:
    """Which records are held out.

    Attributes:
        last_hash: The largest hash of a record that is held out.
        train_length: Characters of the other records.
    """

    last_hash: int
    train_length: int

    def training(self, records: Iterable[str]) -> Iterator[str]:
        """Yield the records to train on, in text order."""
        return (record for record in records if record_hash(record) > self.last_hash)

    def validation(self, records: Iterable[str]) -> Iterator[str]:
        """Yield the records that are held out, in text order."""
        return (record for record in records if record_hash(record) <= self.last_hash)


def index_records(chunks: Iterable[str], separator: str, name: str) -> RecordIndex:
    """Read a text once and return the index of its records.

    Args:
        chunks: The text.
        separator: What ends each record.
        name: The name of the text in an error message.

    Raises:
        TextError: The separator does not occur in the text, or all records are blank.
    """
    hashes, lengths, blank, occurs = array("Q"), array("q"), 0, False
    for content, has_separator in _contents(chunks, separator):
        occurs = occurs or has_separator
        if is_blank(content):
            blank += 1
            continue
        hashes.append(record_hash(content + separator))
        lengths.append(len(content) + len(separator))
    if not occurs:
        raise TextError(
            f"The separator {separator!r} never occurs in {name}, so it would be one record.",
            r"Try `records` lines, or `records` '\n\n' for records separated by blank lines.",
        )
    if not lengths:
        raise TextError(f"There is no record in {name}: all are blank.")
    return RecordIndex(np.frombuffer(hashes, np.uint64), np.frombuffer(lengths, np.int64), blank)


def record_hash(record: str) -> int:
    """Return the first 64 bits of a record's SHA-256."""
    return int.from_bytes(hashlib.sha256(to_bytes(record)).digest()[:8], "big")
