"""Records: a text of lines, titles or documents that have nothing to do with each other.

A record ends with its separator, which is part of it: that is how a model learns where a record ends. What was read
need not end with one; the last record is then completed. Blank records, of nothing but white space, are left out.

Whole records are held out for validation: those whose text has the smallest hash. A list may well be sorted, so its end
would say little about the rest; and records that are equal end up on one side, so that none is scored that was learned.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

from charrnn.corpus import Encoded, encode, split
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers.base import Tokenizer, to_bytes

LINES = "lines"
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "0": "\0", "\\": "\\"}


def separator_of(records: str | None) -> str | None:
    r"""Return the separator that the setting `records` names: "lines", or itself with \n \r \t \f \0 and \\ replaced.

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
        raise ModelFileError(f"The model says that its records end with {str(records)[:40]!r}, which is no separator.")
    return separator_of(records)


def cut_records(text: str, separator: str) -> Iterator[str]:
    """Yield the records of `text` that are not blank, each with its separator; the last one is completed.

    Joined and cut again, they are the same records.
    """
    for content in _contents(text, separator):
        if content and not content.isspace():
            yield content + separator


def count_blank(text: str, separator: str) -> int:
    """Return how many records `cut_records` leaves out."""
    return sum(not content or content.isspace() for content in _contents(text, separator))


def _contents(text: str, separator: str) -> list[str]:
    """Return the records without their separators; of the last one's, a part may be there."""
    *parts, last = text.split(separator)
    there = next(size for size in range(len(separator) - 1, -1, -1) if last.endswith(separator[:size]))
    last = last[: len(last) - there]
    return [*parts, last] if last else parts


def divide(text: str, valid_fraction: float, separator: str | None) -> tuple[str, str]:
    """Divide `text` into what trains and what validates: its end, or if it consists of records, some of them.

    Args:
        text: All of it.
        valid_fraction: Share of the characters that validate, rounded to whole records, and one at least on each side.
        separator: What ends a record; None is a text that does not consist of records.

    Raises:
        UsageError: `valid_fraction` is not in (0, 0.9].
        TextError: There is nothing to put on one of the sides.
    """
    if separator is None:
        return split(text, valid_fraction)
    split("ab" * 100, valid_fraction)  # refuses a fraction out of range
    records = list(cut_records(text, separator))
    held_out = _held_out(Counter(records), valid_fraction)
    sides: tuple[list[str], list[str]] = [], []
    for record in records:
        sides[record in held_out].append(record)
    return "".join(sides[0]), "".join(sides[1])


def _held_out(counts: Counter[str], valid_fraction: float) -> set[str]:
    """Choose the distinct records that validate."""
    if len(counts) < 2:
        raise TextError(
            f"The text has {'no record' if not counts else 'one record only'}: there is nothing to validate on.",
            "Give a text of its own for validation with --valid, or check the separator.",
        )
    order = sorted(counts, key=lambda record: hashlib.sha256(to_bytes(record)).digest())
    sizes = list(accumulate(len(record) * counts[record] for record in order))
    wanted = Fraction(str(valid_fraction)) * sizes[-1]
    nearest = min(range(len(order) - 1), key=lambda last: abs(sizes[last] - wanted))
    return set(order[: nearest + 1])


def check_separator(text: str, separator: str, name: str) -> None:
    """Raise `TextError` if no record of the text ends with its separator: it is not that text's, then."""
    if separator not in text:
        raise TextError(
            f"The separator {separator!r} never occurs in {name}, so it would be one record.",
            r"Records end with it: try --records lines, or --records '\n\n' for what blank lines separate.",
        )


def encode_text(tokenizer: Tokenizer, text: str, separator: str | None) -> Encoded:
    """Turn `text` into ids, record by record if it consists of records, so that no token reaches from one to the next.

    Raises:
        TextError: The text has a lone surrogate, or no record.
    """
    if separator is None:
        return encode(tokenizer, text)
    parts, characters, size = [], 0, 0
    for record in cut_records(text, separator):
        parts.append(tokenizer.encode(record))
        characters, size = characters + len(record), size + len(to_bytes(record))
    if not parts:
        raise TextError("There is no record in the text: it is blank.")
    starts = np.cumsum([0] + [len(part) for part in parts[:-1]], dtype=np.int64)
    return Encoded(np.concatenate(parts), characters, size, starts)
