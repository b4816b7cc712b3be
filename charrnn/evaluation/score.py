"""What a score is. No torch.

Only nats are added up. Everything shown is derived from a `Score`, and names its unit.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.data.encoding import Encoded

Positions = npt.NDArray[np.int64]  # in a text's ids
Nats = npt.NDArray[np.float64]
LN2 = math.log(2)


def bits_per(nats: float, count: int) -> float:
    """Return the bits for each of `count`; NaN if there are none, as in an empty line."""
    return nats / LN2 / count if count else math.nan


def perplexity_of(nats: float, count: int) -> float:
    """Return exp(nats / count), infinity if that is too large for a float."""
    per_token = nats / count if count else math.nan
    return math.inf if per_token >= 700 else math.exp(per_token)


@dataclass(frozen=True)
class Score:
    """A sum of negative log likelihoods, and what it was summed over.

    Attributes:
        nats: Summed negative log likelihood of every token, unknown symbols included.
        tokens: Tokens scored; each one once.
        characters: Code points of the text that they stand for.
        bytes: UTF-8 bytes of that text.
        unknown: Tokens that the tokenizer had never seen.
        unknown_nats: The part of `nats` that they cost.
    """

    nats: float
    tokens: int
    characters: int
    bytes: int
    unknown: int = 0
    unknown_nats: float = 0.0

    @property
    def nats_per_token(self) -> float:
        """Cross entropy in nats for each token."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens), per token: comparable only between models with the same tokens."""
        return perplexity_of(self.nats, self.tokens)

    @property
    def bits_per_char(self) -> float:
        """Bits for each code point of the text: comparable between all tokenizers."""
        return bits_per(self.nats, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """Bits for each UTF-8 byte of the text: comparable between all, and with compressors."""
        return bits_per(self.nats, self.bytes)

    @property
    def perplexity_known(self) -> float:
        """Perplexity of the tokens that the tokenizer knows, as if the others were not there."""
        known = self.tokens - self.unknown
        return perplexity_of(self.nats - self.unknown_nats, known) if known else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and what is derived from them; what is no finite number is None."""
        derived = ("nats_per_token", "perplexity", "bits_per_char", "bits_per_byte")
        values = vars(self) | {name: getattr(self, name) for name in derived}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True)
class ScoreBreakdown:
    """A score, and how it is spread over the text.

    Attributes:
        score: Of the whole text.
        nats: What each piece of `PIECE` tokens costs, (pieces,), in the order of the text; the last
            may be shorter.
        tokens: Tokens in each piece.
    """

    score: Score
    nats: Nats
    tokens: Positions


PIECE = 100  # ten of them are a block of the bootstrap


@dataclass(frozen=True)
class ScoringProtocol:
    """How the state runs through the text.

    The text is cut into segments that are scored side by side, each after reading `warmup` tokens
    before it that are not scored (they are scored in the segment before).

    Attributes:
        segment: Tokens scored in one run of the state; None is the whole text in one serial pass.
        warmup: Tokens read before each segment, at most.
        by_record: Each record is a segment, of its own length, read from the start symbol; without
            records, all is one.
    """

    segment: int | None
    warmup: int
    by_record: bool = False

    @classmethod
    def carried(cls) -> Self:
        """State carried through the text, in parallel segments that read a warm-up first."""
        return cls(segment=2048, warmup=512)

    @classmethod
    def exact(cls) -> Self:
        """State carried through the text in one serial pass."""
        return cls(segment=None, warmup=0)

    @classmethod
    def records(cls) -> Self:
        """State zero at the start of each record, as such a model was trained."""
        return cls(segment=None, warmup=0, by_record=True)

    @classmethod
    def of(cls, text: Encoded) -> Self:
        """Return how a text is scored by default: by record if it has some, or else carried."""
        return cls.carried() if text.starts is None else cls.records()

    @classmethod
    def reset(cls, every: int) -> Self:
        """Context-free blocks of `every` tokens, each from the token before it.

        That is how transformers are often scored.
        """
        return cls(segment=every, warmup=1)

    def __str__(self) -> str:
        """Name the protocol, for a score's signature."""
        if self.by_record:
            return "state:records"
        if self.segment is None:
            return "state:carried-exact"
        if self.warmup == 1:
            return f"state:reset-{self.segment}"
        return f"state:carried-warmup-{self.warmup}"
