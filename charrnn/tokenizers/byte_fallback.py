"""What the kinds share in which every id stands for some bytes: ids 0 .

255 are the bytes themselves.

So no text is beyond them: what has no symbol of its own is spelled in bytes, and decoding is one
table for all.
"""

import codecs
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError, UsageError
from charrnn.tokenizers.base import Ids, checked_ids, id_dtype, to_bytes

BYTES = tuple(bytes([value]) for value in range(256))
BLOCK = 1 << 16  # characters looked at together


class ByteFallbackTokenizer(ABC):
    """A tokenizer to which nothing is unknown.

    A kind adds how text is cut, and what its symbols stand for.
    """

    kind: ClassVar[str]
    unknown: ClassVar[None] = None
    unknown_nats: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def spellings(self) -> tuple[bytes, ...]:
        """What each id stands for: at least one byte; the first 256 are `BYTES`."""

    @abstractmethod
    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text in pieces; see `Tokenizer.encode_chunks`."""

    @cached_property
    def size(self) -> int:
        """Symbols that the model predicts."""
        return len(self.spellings)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return id_dtype(self.size)

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`; see `Tokenizer.encode`."""
        return np.concatenate([np.zeros(0, self.dtype), *self.encode_chunks([text])])

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of `ids`, U+FFFD where they are not UTF-8; see `Tokenizer.decode`."""
        return b"".join(
            map(self.spellings.__getitem__, checked_ids(ids, self.size).tolist())
        ).decode(errors="replace")

    def decoder(self) -> "ByteFallbackDecoder":
        """Return a decoder; see `Tokenizer.decoder`."""
        return ByteFallbackDecoder(self.spellings)

    def spell(self, symbol: int) -> bytes:
        """Return an id's bytes; see `Tokenizer.spell`."""
        return self.spellings[symbol]

    def unknown_characters(self, text: str) -> list[str]:
        """Return nothing: all can be spelled."""
        return []


class ByteFallbackDecoder:
    """Holds back the bytes of a character until its last one has come."""

    def __init__(self, spellings: tuple[bytes, ...]) -> None:
        self.spellings = spellings
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, symbol: int) -> str:
        """Return the characters that the id completes."""
        return self.decoder.decode(self.spellings[symbol])

    def flush(self) -> str:
        """Return U+FFFD for a character that was never completed."""
        return self.decoder.decode(b"", final=True)


def rechunk(chunks: Iterable[str], length: int = BLOCK) -> Iterator[str]:
    """Yield a text in blocks of `length` characters, the last one shorter, however it was cut before."""
    held = ""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % length
        yield from (held[begin : begin + length] for begin in range(0, whole, length))
        held = held[whole:]
    if held:
        yield held


def cut(chunks: Iterable[str], pattern: re.Pattern[str]) -> Iterator[list[str]]:
    """Yield the successive matches of `pattern`, some thousands at a time, however the text was cut before.

    Args:
        chunks: The text.
        pattern: Without groups. It matches at every place, a bounded number of characters, and what
            it matches there does not depend on more than two characters behind the match: so all
            but the last match or two are certain.
    """
    held = ""
    for block in rechunk(chunks):
        to_bytes(block)  # raises at a surrogate
        units = pattern.findall(held + block)
        held = ""
        while units and len(held) < 2:
            held = units.pop() + held
        yield units
    yield pattern.findall(held)


def spread_sample(chunks: Iterable[str], most: int) -> tuple[list[str], int]:
    """Return blocks spread evenly over a text, `most` characters in all at most, and the whole text's length.

    A text that is no longer than `most` is returned whole; of a longer one, at least half as much
    as could be. Memory: the sample, and one chunk.

    Raises:
        TextError: The text holds a surrogate.
    """
    kept, length, stride = list[str](), 0, 1
    for number, block in enumerate(rechunk(chunks)):
        to_bytes(block)
        length += len(block)
        if number % stride == 0:
            kept.append(block)
        if len(kept) * BLOCK > most:
            kept, stride = kept[::2], stride * 2
    return kept, length


def frequent(counts: Counter[str], share: float) -> list[str]:
    """Return the most frequent entries that together reach `share` of all, in descending order.

    Of equals, sorted.
    """
    ranked = sorted(counts, key=lambda entry: (-counts[entry], entry))
    reached, wanted = 0, share * counts.total()
    for number, entry in enumerate(ranked):
        if reached >= wanted:
            return ranked[:number]
        reached += counts[entry]
    return ranked


def usual_size(length: int, factor: float, most: int) -> int:
    """Return a vocabulary's size for a text of `length` characters.

    A power of two near `factor` * sqrt(length).

    Distinct words grow about as the square root of a text's length (Heaps' law), and a symbol is
    learned from its occurrences, so that a short text cannot teach many.
    """
    return int(min(most, max(512, 2 ** round(np.log2(factor * max(1, length) ** 0.5)))))


def check_filled(size: int | None, found: int, kind: str) -> None:
    """Raise `UsageError` if `size` symbols were asked for and the text has fewer, `found`."""
    if size is not None and found < size:
        raise UsageError(
            f"`vocab_size` {size} is more than the text can fill: it has {found} {kind} symbols.",
            f"Give `vocab_size` {found} at most, or leave it out.",
        )


def check_entries(values: dict[str, Any], kind: str, *names: str) -> None:
    """Raise `ModelFileError` unless a description consists of "kind" and of strings under `names`."""
    if set(values) != {"kind", *names} or not all(isinstance(values[name], str) for name in names):
        wanted = " and ".join(f'"{name}"' for name in names) or "nothing"
        raise ModelFileError(f'The {kind} tokenizer needs {wanted} beside "kind", as strings.')
