"""One id per code point: the smallest vocabulary that encodes its training text exactly."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError, TextError, counted
from charrnn.tokenizers.base import ENCODABLE, MAX_SIZE, Ids, checked_ids, id_dtype, to_bytes

REPLACEMENT = "\ufffd"  # Unicode's replacement character


@dataclass(frozen=True)
class CharTokenizer:
    """Code points as symbols; id 0 is the unknown symbol.

    Attributes:
        characters: The known code points, each once, in the order of their ids: `characters[i]`
            has the id i + 1.
    """

    kind: ClassVar[str] = "char"
    unknown: ClassVar[int] = 0

    characters: str

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Collect the text's code points, in code point order; see `Tokenizer.train`."""
        characters = distinct_characters(chunks)
        if not characters:
            raise TextError("There is nothing to learn a vocabulary from: the text is empty.")
        return cls(characters)

    def extended(self, text: str) -> Self:
        """Return a tokenizer that also knows the code points of `text`; existing ids stay."""
        return type(self)(
            self.characters + "".join(self.unknown_characters(distinct_characters([text])))
        )

    @property
    def size(self) -> int:
        """Vocabulary size: the known code points and the unknown symbol."""
        return len(self.characters) + 1

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids."""
        return id_dtype(self.size)

    @property
    def unknown_nats(self) -> float:
        """Nats for a uniform choice among all unknown code points."""
        return math.log(max(1, ENCODABLE - len(self.characters)))

    @cached_property
    def characters_begun(self) -> NDArray[np.int64]:
        """One for each symbol; see `Tokenizer.characters_begun`."""
        return np.ones(self.size, np.int64)

    def encode(self, text: str) -> Ids:
        """Return one id per code point; see `Tokenizer.encode`."""
        if text.isascii() and self.ascii_ids is not None:  # three times as fast
            return np.frombuffer(text.encode().translate(self.ascii_ids), np.uint8).astype(
                self.ids.dtype, copy=False
            )
        return self.ids.take(code_points(text))  # twice as fast as brackets

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of each piece; see `Tokenizer.encode_chunks`."""
        return map(self.encode, chunks)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return one code point per id; see `Tokenizer.decode`."""
        return to_text(code_points(REPLACEMENT + self.characters)[checked_ids(ids, self.size)])

    def decoder(self) -> "CharDecoder":
        """Return a decoder of single ids; see `Tokenizer.decoder`."""
        return CharDecoder(REPLACEMENT + self.characters)

    def spell(self, symbol: int) -> bytes:
        """Return the code point's bytes; see `Tokenizer.spell`."""
        return (REPLACEMENT + self.characters)[symbol].encode()

    def unknown_characters(self, text: str) -> list[str]:
        """Return the distinct code points of `text` that have no id, in order of appearance."""
        points = code_points(text)
        return list(dict.fromkeys(to_text(points[self.ids[points] == self.unknown])))

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as JSON values."""
        return {"kind": self.kind, "characters": self.characters}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned; see `Tokenizer.from_dict`."""
        characters = values.get("characters")
        if set(values) != {"kind", "characters"} or not isinstance(characters, str):
            raise ModelFileError(
                'The char tokenizer needs one entry besides "kind": "characters", a string.'
            )
        if not 1 <= len(characters) < MAX_SIZE:
            raise ModelFileError(
                f"The char tokenizer has {counted(len(characters), 'character')}; "
                f"1 to {MAX_SIZE - 1:,} are allowed."
            )
        if len(set(characters)) != len(characters):
            raise ModelFileError("The char tokenizer has a character twice.")
        if any("\ud800" <= character <= "\udfff" for character in characters):
            raise ModelFileError(
                "The char tokenizer has a surrogate among its characters, which no text can hold."
            )
        return cls(characters)

    @cached_property
    def ids(self) -> Ids:
        """The id of every Unicode code point, (0x110000,): a table for encoding."""
        table = np.zeros(0x110000, dtype=self.dtype)
        table[code_points(self.characters)] = np.arange(1, self.size)
        return table

    @cached_property
    def ascii_ids(self) -> bytes | None:
        """The ids of ASCII characters as a table for `bytes.translate`; None if one exceeds 255."""
        ids = self.ids[:256]  # entries beyond ASCII are never looked up
        return ids.astype(np.uint8).tobytes() if ids[:128].max() < 256 else None


@dataclass(frozen=True)
class CharDecoder:
    """Maps each id to its character, and holds nothing back."""

    characters: str

    def feed(self, symbol: int) -> str:
        """Return the character of an id."""
        return self.characters[symbol]

    def flush(self) -> str:
        """Return an empty string: nothing is held back."""
        return ""


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points of `text`; raise `TextError` at a lone surrogate."""
    return np.frombuffer(to_bytes(text, "utf-32-le"), dtype="<u4")


def to_text(points: NDArray[np.uint32]) -> str:
    """Return the text that consists of these code points."""
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le")


def distinct_characters(chunks: Iterable[str]) -> str:
    """Return the distinct code points of a text that comes in pieces, in code point order."""
    seen = np.zeros(0x110000, dtype=bool)  # faster than sorting a long text
    known = b""  # the ASCII characters seen; deleting them soon leaves next to nothing of a piece
    for chunk in chunks:
        if chunk.isascii():
            known += bytes(set(chunk.encode().translate(None, known)))
        elif not seen.take(points := code_points(chunk)).all():
            seen[points] = True
    seen[list(known)] = True
    return to_text(np.flatnonzero(seen).astype(np.uint32))
