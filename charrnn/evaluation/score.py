"""Scores and scoring protocols. No torch.

Only nats are summed. All other figures are derived from a `Score` and named with their unit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.data.encoding import Encoded
from charrnn.data.mapped import take
from charrnn.tokenizers import Tokenizer

Positions = npt.NDArray[np.int64]  # indices of a text's ids
Nats = npt.NDArray[np.float64]
LN2 = math.log(2)


def bits_per(nats: float, count: int) -> float:
    """Return the bits per item; NaN if there are no items, as in an empty line."""
    return nats / LN2 / count if count else math.nan


def perplexity_of(nats: float, count: int) -> float:
    """Return exp(nats / count), or infinity if that is too large for a float."""
    per_token = nats / count if count else math.nan
    return math.inf if per_token >= 700 else math.exp(per_token)


@dataclass(frozen=True)
class Score:
    """A sum of negative log likelihoods, and the size of the text that was scored.

    Attributes:
        nats: Summed negative log likelihood of all tokens, unknown ones included.
        tokens: Number of tokens, each scored once.
        characters: Code points of the text.
        bytes: UTF-8 bytes of the text.
        unknown: Number of unknown tokens.
        unknown_nats: The part of `nats` that is due to unknown tokens.
    """

    nats: float
    tokens: int
    characters: int
    bytes: int
    unknown: int = 0
    unknown_nats: float = 0.0

    @property
    def nats_per_token(self) -> float:
        """Cross entropy in nats per token."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """Perplexity per token, exp(nats / tokens): comparable only with the same tokenizer."""
        return perplexity_of(self.nats, self.tokens)

    @property
    def bits_per_char(self) -> float:
        """Bits per code point of the text: comparable between all tokenizers."""
        return bits_per(self.nats, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the text: comparable between all tokenizers, and compressors."""
        return bits_per(self.nats, self.bytes)

    @property
    def perplexity_known(self) -> float:
        """Perplexity per known token, with unknown tokens left out."""
        known = self.tokens - self.unknown
        return perplexity_of(self.nats - self.unknown_nats, known) if known else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and derived figures as JSON values; those not finite are None."""
        derived = (
            "nats_per_token",
            "perplexity",
            "perplexity_known",
            "bits_per_char",
            "bits_per_byte",
        )
        values = vars(self) | {name: getattr(self, name) for name in derived}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


PIECE = 100  # tokens of a plain text whose losses are kept as one sum


@dataclass(frozen=True)
class ScoreBreakdown:
    """A score, and the losses of successive pieces of the text.

    Attributes:
        score: The score of the whole text.
        nats: Loss of each piece, (pieces,), in the order of the text. A piece is a record, or
            `PIECE` tokens of a plain text, of which the last piece may be shorter.
        characters: Code points that begin in each piece, (pieces,).
        by_record: Whether the pieces are records.
    """

    score: Score
    nats: Nats
    characters: Positions
    by_record: bool = False


def break_down(
    losses: Iterable[tuple[Positions, Nats]], tokenizer: Tokenizer, text: Encoded
) -> ScoreBreakdown:
    """Sum the losses of a text's tokens.

    Args:
        losses: Positions in `text.ids` and the nats of the tokens there, in any order.
        tokenizer: The tokenizer that made the ids.
        text: The ids, and the characters and bytes that they stand for.
    """
    total = unknown_nats = 0.0
    unknown, by_record = 0, text.starts is not None
    pieces = np.zeros(-(-len(text.ids) // PIECE) if text.starts is None else len(text.starts))
    characters = np.zeros(len(pieces), np.int64)
    for positions, nats in losses:
        symbols = take(text.ids, positions)
        is_unknown = symbols == tokenizer.unknown
        total += float(nats.sum())
        unknown_nats += float(nats[is_unknown].sum())
        unknown += int(is_unknown.sum())
        piece = piece_of(text, positions)
        np.add.at(pieces, piece, nats + is_unknown * tokenizer.unknown_nats)
        np.add.at(characters, piece, tokenizer.characters_begun[symbols])
    charge = unknown * tokenizer.unknown_nats
    charged = unknown_nats + charge if unknown else 0.0
    tokens = len(text.ids)
    score = Score(total + charge, tokens, text.characters, text.bytes, unknown, charged)
    return ScoreBreakdown(score, pieces, characters, by_record)


def piece_of(text: Encoded, positions: Positions) -> Positions:
    """Return the index of the piece, a record or `PIECE` tokens, that each position is in."""
    if text.starts is None:
        return positions // PIECE
    return np.searchsorted(text.starts, positions, side="right").astype(np.int64) - 1


@dataclass(frozen=True)
class ScoringProtocol:
    """How the state is carried or reset while a text is scored.

    The text is cut into segments that are scored side by side. Each segment first reads up to
    `warmup` tokens before it without scoring them; they are scored in the segment before.

    Attributes:
        segment: Tokens in a segment; None is the whole text in one serial pass.
        warmup: The most tokens that are read before each segment.
        by_record: Each record is a segment, read from the start symbol. A text without records is
            one segment.
    """

    segment: int | None
    warmup: int
    by_record: bool = False

    @classmethod
    def carried(cls) -> Self:
        """Carry the state through the text, in parallel segments with a warm-up."""
        return cls(segment=2048, warmup=512)

    @classmethod
    def exact(cls) -> Self:
        """Carry the state through the text in one serial pass."""
        return cls(segment=None, warmup=0)

    @classmethod
    def records(cls) -> Self:
        """Start each record from zero state, as in training on records."""
        return cls(segment=None, warmup=0, by_record=True)

    @classmethod
    def of(cls, text: Encoded) -> Self:
        """Return the default protocol for a text: by record if it has records, or else carried."""
        return cls.carried() if text.starts is None else cls.records()

    @classmethod
    def reset(cls, every: int) -> Self:
        """Reset the state after every `every` tokens, as transformers are often scored.

        Each block reads only the token before it as context.
        """
        return cls(segment=every, warmup=1)

    def __str__(self) -> str:
        """Return the protocol's name in a score's signature."""
        if self.by_record:
            return "state:records"
        if self.segment is None:
            return "state:carried-exact"
        if self.warmup == 1:
            return f"state:reset-{self.segment}"
        return f"state:carried-warmup-{self.warmup}"
