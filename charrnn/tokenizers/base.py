"""What every tokenizer offers, and the Unicode facts that tokenizers share."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError, UsageError

Ids = NDArray[np.integer[Any]]  # symbols, of any integer type

MAX_SIZE = 1 << 21  # largest vocabulary: more symbols than Unicode has code points
ENCODABLE = 0x110000 - 0x800  # code points that UTF-8 can hold: all but the surrogates


class Decoder(Protocol):
    """Turns ids into text one by one, and never returns part of a character."""

    def feed(self, symbol: int) -> str:
        """Take the next id and return the text that is now complete, which may be empty."""

    def flush(self) -> str:
        """Return what was held back, after the last id."""


class Tokenizer(Protocol):
    """Maps text to ids and back.

    `decode(encode(text)) == text`, unless `text` holds unknown characters.
    """

    @property
    def kind(self) -> str:
        """Its name in `charrnn.tokenizers.KINDS`."""

    @property
    def size(self) -> int:
        """Vocabulary size, the unknown symbol included; ids are 0 .. size - 1."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds the ids and `size`, the model's start symbol."""

    @property
    def unknown(self) -> int | None:
        """The unknown symbol's id, or None if the tokenizer can encode every text."""

    @property
    def unknown_nats(self) -> float:
        """Nats that an unknown character costs in addition to the model's loss on the symbol.

        The natural logarithm of the number of code points outside the vocabulary, as for a uniform
        choice among them; 0 if no character can be unknown.
        """

    @property
    def characters_begun(self) -> NDArray[np.int64]:
        """The number of characters that begin in each symbol, (size,).

        Over the ids of a text, they add up to its characters.
        """

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, one-dimensional, of type `dtype`.

        Raises:
            TextError: `text` holds a lone surrogate.
        """

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text that comes in pieces.

        Joined, they are the ids of the joined text, wherever it was cut.

        Raises:
            TextError: The text holds a lone surrogate.
        """

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of `ids`; the unknown symbol becomes U+FFFD.

        Raises:
            UsageError: An id is not in 0 .. size - 1.
        """

    def decoder(self) -> Decoder:
        """Return a decoder that turns this tokenizer's ids into text one by one."""

    def spell(self, symbol: int) -> bytes:
        """Return the UTF-8 bytes that an id stands for: at least one.

        They may be part of a character, one character or several; the unknown symbol's are those
        of U+FFFD.
        """

    def unknown_characters(self, text: str) -> list[str]:
        """Return the distinct characters of `text` that are unknown, in order of appearance."""

    def to_dict(self) -> dict[str, Any]:
        """Return all that `from_dict` needs, as JSON values; "kind" names the tokenizer."""

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Learn the vocabulary from a text that comes in pieces.

        Args:
            chunks: The training part only; what is learned does not depend on where it was cut.
            size: Vocabulary size; None chooses one that suits the text. Ignored by kinds whose
                size cannot be chosen.

        Raises:
            UsageError: `size` is too small, or larger than the text can fill.
            TextError: The text is empty, or holds a lone surrogate.
        """

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned, checking everything.

        Raises:
            ModelFileError: An entry is missing, unknown, of the wrong type, or contradicts itself.
        """


def id_dtype(size: int) -> np.dtype[Any]:
    """Return the smallest unsigned type for the ids 0 .. size; the last is the start symbol."""
    return np.min_scalar_type(size)


def checked_ids(ids: Sequence[int] | NDArray[Any], size: int) -> NDArray[Any]:
    """Return `ids` as an array; raise `UsageError` unless all are in 0 .. size - 1."""
    array = np.asarray(ids, dtype=None if len(ids) else np.uint8)
    if array.size and (array.min() < 0 or array.max() >= size):
        wrong = array.min() if array.min() < 0 else array.max()
        raise UsageError(f"Id {wrong} is outside the vocabulary: ids are 0 to {size - 1}.")
    return array


def to_bytes(text: str, encoding: str = "utf-8", *, before: int = 0) -> bytes:
    """Encode `text` in a Unicode encoding.

    Args:
        text: The text, or a piece of it.
        encoding: The encoding's name.
        before: Characters of the text before this piece, for the offset in an error.

    Raises:
        TextError: `text` holds a lone surrogate, which cannot be encoded.
    """
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(text[error.start]):04X}"
        raise TextError(
            f"The character at offset {before + error.start} is half of a surrogate pair, "
            f"{surrogate}; UTF-8 cannot encode it.",
            "Read the text in the encoding that it is in, or remove the character.",
        ) from None
