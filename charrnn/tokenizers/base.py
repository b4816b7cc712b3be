"""What every tokenizer offers, and the Unicode facts that they share."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError, UsageError

Ids = NDArray[np.integer[Any]]  # symbols, of any whole type

MAX_SIZE = 1 << 21  # more symbols than Unicode has; a model file that claims more is not believed
ENCODABLE = 0x110000 - 0x800  # code points that UTF-8 can hold: all but the surrogates


class Decoder(Protocol):
    """Turns ids into text as they come, and never shows a part of a character."""

    def feed(self, symbol: int) -> str:
        """Take the next id and return what text is certain now, which may be none yet."""

    def flush(self) -> str:
        """Return what was held back, when no more ids will come."""


class Tokenizer(Protocol):
    """Maps text to ids and back.

    `decode(encode(text)) == text`, unless `text` holds unknown symbols.
    """

    @property
    def kind(self) -> str:
        """The name under which `charrnn.tokenizers.KINDS` has it."""

    @property
    def size(self) -> int:
        """Symbols that the model predicts, the unknown one included; ids are 0 .. size - 1."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type of the ids, and of `size`, the model's start symbol."""

    @property
    def unknown(self) -> int | None:
        """The unknown symbol's id, or None for a tokenizer that can spell every text."""

    @property
    def unknown_nats(self) -> float:
        """What an unknown symbol costs on top of the model's price for it.

        0 if nothing can be unknown.

        It is the natural logarithm of the number of code points outside the vocabulary: a uniform
        choice among them.
        """

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, one-dimensional, of type `dtype`.

        Raises:
            TextError: `text` holds a lone surrogate.
        """

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text that comes in pieces.

        Joined, they are those of the joined text, wherever it was cut.

        Raises:
            TextError: The text holds a lone surrogate.
        """

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text that `ids` stand for; the unknown symbol becomes U+FFFD.

        Raises:
            UsageError: An id is not in 0 .. size - 1.
        """

    def decoder(self) -> Decoder:
        """Return what turns this tokenizer's ids into text one by one."""

    def spell(self, symbol: int) -> bytes:
        """Return the UTF-8 bytes, one at least, that an id stands for.

        A part of a character, one, or many.

        The unknown symbol's are those of U+FFFD.
        """

    def unknown_characters(self, text: str) -> list[str]:
        """Return the distinct characters of `text` that are unknown, in order of appearance."""

    def to_dict(self) -> dict[str, Any]:
        """Return all that `from_dict` needs, as JSON values.

        The entry "kind" names the tokenizer.
        """

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Learn the vocabulary from a text that comes in pieces.

        Args:
            chunks: The training part only; what is learned does not depend on where it was cut.
            size: Symbols to have; None is what suits the text. A kind whose size is not a choice
                pays no heed.

        Raises:
            UsageError: The text cannot fill, or not do with, that many symbols.
            TextError: The text is empty, or holds a lone surrogate.
        """

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` gave, trusting nothing.

        Raises:
            ModelFileError: An entry is missing, unknown, of the wrong type, or contradicts itself.
        """


def id_dtype(size: int) -> np.dtype[Any]:
    """Return the smallest unsigned type for the ids 0 .. size, of which the last is for a start."""
    return np.min_scalar_type(size)


def checked_ids(ids: Sequence[int] | NDArray[Any], size: int) -> NDArray[Any]:
    """Return `ids` as an array; raise `UsageError` unless all are in 0 .. size - 1."""
    array = np.asarray(ids, dtype=None if len(ids) else np.uint8)
    if array.size and (array.min() < 0 or array.max() >= size):
        wrong = array.min() if array.min() < 0 else array.max()
        raise UsageError(f"Id {wrong} is outside the vocabulary: ids are 0 to {size - 1}.")
    return array


def to_bytes(text: str, encoding: str = "utf-8", *, before: int = 0) -> bytes:
    """Encode `text`, before which `before` characters came, in a Unicode encoding.

    Raises:
        TextError: `text` holds a surrogate, which no such encoding has a place for.
    """
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(text[error.start]):04X}"
        raise TextError(
            f"The character at offset {before + error.start} is half of a surrogate pair, {surrogate}; "
            "UTF-8 cannot encode it.",
            "Read the text with its right encoding, or remove the character.",
        ) from None
