"""The base of tokenizers whose ids stand for bytes; ids 0 .. 255 are the single bytes.

They can encode every text: what has no symbol of its own is spelled in bytes. Decoding is a table
look-up.
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

from charrnn.errors import ModelFileError, UsageError, counted
from charrnn.tokenizers.base import Ids, checked_ids, id_dtype, to_bytes

BYTES = tuple(bytes([value]) for value in range(256))
BLOCK = 1 << 16  # characters processed at once


class ByteFallbackTokenizer(ABC):
    """A tokenizer without unknown characters.

    Subclasses define how text is cut and what the symbols stand for.
    """

    kind: ClassVar[str]
    unknown: ClassVar[None] = None
    unknown_nats: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def spellings(self) -> tuple[bytes, ...]:
        """The bytes of each id, at least one; the first 256 are `BYTES`."""

    @abstractmethod
    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text in pieces; see `Tokenizer.encode_chunks`."""

    @cached_property
    def size(self) -> int:
        """Vocabulary size."""
        return len(self.spellings)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return id_dtype(self.size)

    @cached_property
    def characters_begun(self) -> NDArray[np.int64]:
        """The bytes of each symbol that are no continuation bytes of UTF-8."""
        counts = (sum(byte & 0xC0 != 0x80 for byte in spelling) for spelling in self.spellings)
        return np.fromiter(counts, np.int64, self.size)

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`; see `Tokenizer.encode`."""
        return np.concatenate([np.zeros(0, self.dtype), *self.encode_chunks([text])])

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of `ids`, U+FFFD where they are not UTF-8; see `Tokenizer.decode`."""
        return b"".join(
            map(self.spellings.__getitem__, checked_ids(ids, self.size).tolist())
        ).decode(errors="replace")

    def decoder(self) -> "ByteFallbackDecoder":
        """Return a decoder of single ids; see `Tokenizer.decoder`."""
        return ByteFallbackDecoder(self.spellings)

    def spell(self, symbol: int) -> bytes:
        """Return an id's bytes; see `Tokenizer.spell`."""
        return self.spellings[symbol]

    def unknown_characters(self, text: str) -> list[str]:
        """Return an empty list: every character can be spelled in bytes."""
        return []


class ByteFallbackDecoder:
    """Holds back the bytes of a character until it is complete."""

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
    """Yield a text, however it was cut, in blocks of `length` characters; the last is shorter."""
    held = ""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % length
        yield from (held[begin : begin + length] for begin in range(0, whole, length))
        held = held[whole:]
    if held:
        yield held


def find_matches(chunks: Iterable[str], pattern: re.Pattern[str]) -> Iterator[list[str]]:
    """Yield the successive matches of `pattern` in a text, some thousands at a time.

    They do not depend on how the text was cut into chunks.

    Args:
        chunks: The text.
        pattern: Without groups. It must match a bounded number of characters at every position, and
            look at most two characters ahead: then all but the last one or two matches of a block
            are final.
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


def spread_sample(chunks: Iterable[str], limit: int) -> tuple[list[str], int]:
    """Return blocks spread evenly over a text, and the length of the text.

    A text of up to `limit` characters is returned whole; of a longer one, between half of `limit`
    and `limit` characters. Memory: the sample and one chunk.

    Raises:
        TextError: The text holds a lone surrogate.
    """
    kept, length, stride = list[str](), 0, 1
    for number, block in enumerate(rechunk(chunks)):
        to_bytes(block)
        length += len(block)
        if number % stride == 0:
            kept.append(block)
        if len(kept) * BLOCK > limit:
            kept, stride = kept[::2], stride * 2
    return kept, length


def most_frequent(counts: Counter[str], fraction: float) -> list[str]:
    """Return the fewest entries that make up `fraction` of the total count, most frequent first.

    Entries of equal count are in lexical order.
    """
    ranked = sorted(counts, key=lambda entry: (-counts[entry], entry))
    reached, wanted = 0, fraction * counts.total()
    for number, entry in enumerate(ranked):
        if reached >= wanted:
            return ranked[:number]
        reached += counts[entry]
    return ranked


def default_size(length: int, factor: float, limit: int) -> int:
    """Return a vocabulary size for a text of `length` characters, at most `limit`.

    It is a power of two near `factor` * sqrt(length): the number of distinct words grows about as
    the square root of a text's length (Heaps' law), and a model needs many occurrences of a symbol
    to learn it.
    """
    return int(min(limit, max(512, 2 ** round(np.log2(factor * max(1, length) ** 0.5)))))


def check_filled(size: int | None, found: int, kind: str) -> None:
    """Raise `UsageError` if a vocabulary of `size` was asked for and the text has only `found`."""
    if size is not None and found < size:
        raise UsageError(
            f"`vocab_size` {size} is more than the text can fill: it has "
            f"{counted(found, f'{kind} symbol')}.",
            f"Give `vocab_size` {found} at most, or leave it out.",
        )


def check_entries(values: dict[str, Any], kind: str, *names: str) -> None:
    """Raise `ModelFileError` unless `values` has "kind", strings under `names`, and no more."""
    if set(values) != {"kind", *names} or not all(isinstance(values[name], str) for name in names):
        wanted = " and ".join(f'"{name}"' for name in names) or "nothing"
        raise ModelFileError(f'The {kind} tokenizer needs {wanted} besides "kind", as strings.')
