"""Records: a text of lines, titles or documents that have nothing to do with each other.

A record ends with its separator, which is part of it: that is how a model learns where a record
ends. What was read need not end with one; the last record is then completed. Blank records, of
nothing but white space, are left out.

Whole records are held out for validation: those whose text has the smallest hash. A list may well
be sorted, so its end would say little about the rest; and records that are equal end up on one
side, so that none is scored that was learned.

Texts come in chunks, and one chunk or one record is in memory. To divide a text, it is read three
times: once to choose what validates, which takes some 50 bytes of memory for each record, and once
for each side.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.split import exact_share
from charrnn.data.text import Encoded, encode
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers.base import Tokenizer, to_bytes

LINES = "lines"
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "0": "\0", "\\": "\\"}


def separator_of(records: str | None) -> str | None:
    r"""Return the separator that the setting `records` names.

    "lines", or itself with \n \r \t \f \0 and \\ replaced.

    Raises:
        UsageError: It is empty.
    """
    if records is None:
        return None
    if not records:
        raise UsageError("--records needs a separator, but it is empty.", "Try --records lines.")
    if records == LINES:
        return "\n"
    return re.sub(r"\\([nrtf0\\])", lambda found: ESCAPES[found[1]], records)


def saved_separator(about: Mapping[str, Any]) -> str | None:
    """Return the separator of the records that a model was trained on, or None if it was trained on one long text.

    Args:
        about: What the model file says about itself. Files that know nothing of records are fine.

    Raises:
        ModelFileError: It says what charrnn would not write.
    """
    train = about.get("train")
    records = train.get("records") if isinstance(train, dict) else None
    if records is not None and (not isinstance(records, str) or not records):
        raise ModelFileError(
            f"The model says that its records end with {str(records)[:40]!r}, which is no separator."
        )
    return separator_of(records)


def cut_records(chunks: Iterable[str], separator: str) -> Iterator[str]:
    """Yield the records of a text that are not blank, each with its separator.

    The last one is completed.

    Joined and cut again, they are the same records, wherever the text was cut into chunks.
    """
    return (
        content + separator for content, _ in _contents(chunks, separator) if not is_blank(content)
    )


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
    begun = next(
        size for size in range(len(separator) - 1, -1, -1) if last.endswith(separator[:size])
    )
    if len(last) > begun:
        yield last[: len(last) - begun], False


@dataclass(frozen=True)
class Survey:
    """The records of a text, as far as it takes to divide them.

    Attributes:
        separator: What ends each.
        hashes: The first 64 bits of each one's SHA-256, uint64.
        lengths: Characters of each with its separator, int64.
        blank: How many blank ones were left out.
    """

    separator: str
    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    blank: int

    @property
    def characters(self) -> int:
        """Characters of all records."""
        return int(self.lengths.sum())

    def divided(self, valid_fraction: float) -> "Sides":
        """Choose the records that validate.

        Args:
            valid_fraction: Share of the characters, rounded to whole records, and one at least on
                each side.

        Raises:
            UsageError: `valid_fraction` is not in (0, 0.9].
            TextError: There is one record only.
        """
        wanted = float(exact_share(valid_fraction) * self.characters)
        hashes, group = np.unique(self.hashes, return_inverse=True)
        if len(hashes) < 2:
            raise TextError(
                "The text has one record only: there is nothing to validate on.",
                "Give a text of its own for validation with --valid, or check the separator.",
            )
        sizes = np.bincount(group, weights=self.lengths).cumsum()
        nearest = int(np.abs(sizes[:-1] - wanted).argmin())
        return Sides(self.separator, int(hashes[nearest]), self.characters - int(sizes[nearest]))


@dataclass(frozen=True)
class Sides:
    """Which records train and which validate.

    Attributes:
        separator: What ends each.
        last_hash: Those whose hash is at most this validate. Equal records have equal hashes.
        train: Characters of those that train.
    """

    separator: str
    last_hash: int
    train: int

    def training(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the records of a text that train, in its order."""
        return (
            record
            for record in cut_records(chunks, self.separator)
            if _hash(record) > self.last_hash
        )

    def validating(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the records of a text that validate, in its order."""
        return (
            record
            for record in cut_records(chunks, self.separator)
            if _hash(record) <= self.last_hash
        )


def survey(chunks: Iterable[str], separator: str, name: str) -> Survey:
    """Read a text once to know its records.

    Raises:
        TextError: None ends with the separator, so it is not that of the text named; or all are
            blank.
    """
    hashes, lengths, blank, occurs = array("Q"), array("q"), 0, False
    for content, ended in _contents(chunks, separator):
        occurs = occurs or ended
        if is_blank(content):
            blank += 1
            continue
        hashes.append(_hash(content + separator))
        lengths.append(len(content) + len(separator))
    if not occurs:
        raise TextError(
            f"The separator {separator!r} never occurs in {name}, so it would be one record.",
            r"Records end with it: try --records lines, or --records '\n\n' for what blank lines separate.",
        )
    if not lengths:
        raise TextError(f"There is no record in {name}: all are blank.")
    return Survey(
        separator, np.frombuffer(hashes, np.uint64), np.frombuffer(lengths, np.int64), blank
    )


def _hash(record: str) -> int:
    return int.from_bytes(hashlib.sha256(to_bytes(record)).digest()[:8], "big")


def encode_text(tokenizer: Tokenizer, text: str, separator: str | None) -> Encoded:
    """Turn `text` into ids, record by record if it consists of records, so that no token reaches from one to the next.

    `charrnn.data.id_cache` does it for a text of any size.

    Raises:
        TextError: The text has a lone surrogate, or no record.
    """
    if separator is None:
        return encode(tokenizer, text)
    records = list(cut_records([text], separator))
    if not records:
        raise TextError("There is no record in the text: it is blank.")
    parts = [tokenizer.encode(record) for record in records]
    starts = np.cumsum([0] + [len(part) for part in parts[:-1]], dtype=np.int64)
    complete = "".join(records)
    return Encoded(np.concatenate(parts), len(complete), len(to_bytes(complete)), starts)
