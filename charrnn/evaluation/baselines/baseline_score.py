"""A baseline's score of a text, in the units of a model's score."""

from dataclasses import dataclass
from typing import Any, Self

from charrnn.evaluation.score import LN2, bits_per


@dataclass(frozen=True)
class BaselineScore:
    """A baseline's score of a text.

    Attributes:
        name: Name of the baseline.
        nats: Negative log likelihood of the text, or its compressed length in nats.
        characters: Code points of the text.
        bytes: UTF-8 bytes of the text.
    """

    name: str
    nats: float
    characters: int
    bytes: int

    @classmethod
    def of(cls, name: str, nats: float, text: str) -> Self:
        """Return the score of a text whose loss is `nats`."""
        return cls(name, float(nats), len(text), len(text.encode()))

    @classmethod
    def of_bytes(cls, name: str, size: int, text: str) -> Self:
        """Return the score of a text that is compressed to `size` bytes."""
        return cls.of(name, size * 8 * LN2, text)

    @property
    def bits_per_char(self) -> float:
        """Bits per code point of the text."""
        return bits_per(self.nats, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the text."""
        return bits_per(self.nats, self.bytes)

    @property
    def is_primed(self) -> bool:
        """Whether it learned from a training text."""
        return "not primed" not in self.name

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the score as JSON values, with the keys of a model's score."""
        score = {"nats": self.nats, "characters": self.characters, "bytes": self.bytes}
        derived = {"bits_per_char": self.bits_per_char, "bits_per_byte": self.bits_per_byte}
        return {"name": self.name, "score": score | derived}
