"""What every tokenizer offers, and the Unicode facts that they share."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError

Ids = NDArray[np.unsignedinteger[Any]]

MAX_SIZE = 1 << 21  # more symbols than Unicode has; a model file that claims more is not believed
ENCODABLE = 0x110000 - 0x800  # code points that UTF-8 can hold: all but the surrogates


class Tokenizer(Protocol):
    """Maps text to ids and back: `decode(encode(text)) == text`, unless `text` holds unknown symbols."""

    @property
    def kind(self) -> str:
        """The name under which `charrnn.tokenizers.KINDS` has it."""

    @property
    def size(self) -> int:
        """Symbols that the model predicts, the unknown one included; ids are 0 .. size - 1."""

    @property
    def unknown(self) -> int | None:
        """The unknown symbol's id, or None for a tokenizer that can spell every text."""

    @property
    def unknown_nats(self) -> float:
        """What an unknown symbol costs on top of the model's price for it; 0 if nothing can be unknown.

        It is the natural logarithm of the number of code points outside the vocabulary: a uniform choice among them.
        """

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, one-dimensional, in the type that `id_dtype(size)` names.

        Raises:
            TextError: `text` holds a lone surrogate.
        """

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text that `ids` stand for; the unknown symbol becomes U+FFFD.

        Raises:
            UsageError: An id is not in 0 .. size - 1.
        """

    def unknown_characters(self, text: str) -> list[str]:
        """Return the distinct characters of `text` that are unknown, in order of appearance."""

    def to_dict(self) -> dict[str, Any]:
        """Return all that `from_dict` needs, as JSON values; the entry "kind" names the tokenizer."""

    @classmethod
    def train(cls, text: str) -> Self:
        """Learn the vocabulary from `text`, which should be the training part only."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` gave, trusting nothing.

        Raises:
            ModelFileError: An entry is missing, unknown, of the wrong type, or contradicts itself.
        """


def id_dtype(size: int) -> np.dtype[Any]:
    """Return the smallest unsigned type for the ids 0 .. size: `size` itself is the model's start symbol."""
    return np.min_scalar_type(size)


def to_bytes(text: str, encoding: str = "utf-8") -> bytes:
    """Encode `text` in a Unicode encoding.

    Raises:
        TextError: `text` holds a surrogate, which no such encoding has a place for.
    """
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(text[error.start]):04X}"
        raise TextError(
            f"The character at offset {error.start} is half of a surrogate pair, {surrogate}; UTF-8 cannot encode it.",
            "Read the text with its right encoding, or remove the character.",
        ) from None
