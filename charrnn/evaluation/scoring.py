"""How well a model predicts a text.

The one definition, used by `eval`, by validation in training and by the API.

Only nats are added up. Everything shown is derived from a `Score`, and names its unit.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charrnn.data.id_cache import take
from charrnn.data.text import Encoded
from charrnn.model.network import CharRNN
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.tokenizers import Tokenizer

Ids = npt.NDArray[np.integer[Any]]
Places = npt.NDArray[np.int64]
Nats = npt.NDArray[np.float64]
LN2 = math.log(2)


@dataclass(frozen=True)
class Score:
    """A sum of negative log likelihoods, and what it was summed over.

    Attributes:
        nats: Summed negative log likelihood of every token, natural logarithm; unknown symbols
            included.
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
        return _per(self.nats, self.tokens)

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens), per token: comparable only between models with the same tokens."""
        return _exp(self.nats_per_token)

    @property
    def bits_per_char(self) -> float:
        """Bits for each code point of the text: comparable between all tokenizers."""
        return _per(self.nats / LN2, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """Bits for each UTF-8 byte of the text.

        Comparable between all tokenizers, and with compressors.
        """
        return _per(self.nats / LN2, self.bytes)

    @property
    def perplexity_known(self) -> float:
        """Perplexity of the tokens that the tokenizer knows, as if the others were not there."""
        known = self.tokens - self.unknown
        return _exp((self.nats - self.unknown_nats) / known) if known else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and all that is derived from them, as JSON values.

        What is no finite number is None.
        """
        derived = ("nats_per_token", "perplexity", "bits_per_char", "bits_per_byte")
        values = vars(self) | {name: getattr(self, name) for name in derived}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _per(total: float, count: int) -> float:
    return total / count if count else math.nan  # an empty line has a score too


def _exp(nats: float) -> float:
    return math.inf if nats >= 700 else math.exp(nats)


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
        """State carried through the text, in parallel.

        Enough warm-up to agree with `exact` within 0.001 nats.
        """
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
        """Return how a text is scored if nothing else is asked for.

        By record if it has some, or else carried.
        """
        return cls.carried() if text.starts is None else cls.records()

    @classmethod
    def reset(cls, every: int) -> Self:
        """Context-free blocks of `every` tokens, each from the token before it.

        How transformers are often scored.
        """
        return cls(segment=every, warmup=1)

    def __str__(self) -> str:
        """Name the protocol, for a score's signature."""
        if self.by_record:
            return "state:records"
        if self.segment is None:
            return "state:carried-exact"
        return (
            f"state:reset-{self.segment}"
            if self.warmup == 1
            else f"state:carried-warmup-{self.warmup}"
        )


def evaluate(
    model: CharRNN,
    tokenizer: Tokenizer,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Callable[[], Any] | None = None,
    ranks: Ranks = ALONE,
) -> Score:
    """Score every token of a text, the first one included (it is predicted from the start symbol).

    Unknown symbols are charged the model's probability of the unknown token times a uniform choice
    among the code points outside the vocabulary.

    Args:
        model: Put into evaluation mode for the while; its training mode and every random generator
            stay as they are.
        tokenizer: The one that made the ids.
        text: The ids, and the characters and bytes that they stand for.
        protocol: How the state runs.
        autocast: Makes the context in which the model runs, for lower precision; None computes in
            the weights' own.
        ranks: Those that share the work; each of them has the same arguments, and gets the same
            score.
    """
    score = tally(
        token_nats(model, text, protocol, autocast=autocast, ranks=ranks), tokenizer, text
    ).score
    total, unknown, unknown_nats = ranks.total(score.nats, score.unknown, score.unknown_nats)
    return replace(score, nats=total, unknown=int(unknown), unknown_nats=unknown_nats)


@dataclass(frozen=True)
class Tally:
    """A score, and how it is spread over the text.

    Attributes:
        score: Of the whole text.
        nats: What each piece of `PIECE` tokens costs, (pieces,), in the order of the text; the last
            may be shorter.
        tokens: Tokens in each piece.
    """

    score: Score
    nats: Nats
    tokens: Places


PIECE = 100  # ten of them are a block of the bootstrap


def tally(losses: Iterable[tuple[Places, Nats]], tokenizer: Tokenizer, text: Encoded) -> Tally:
    """Add up what each token of a text costs.

    Pairs of places in `text.ids` and their nats, in any order.
    """
    total = unknown_nats = 0.0
    unknown, pieces = 0, np.zeros(-(-len(text.ids) // PIECE))
    for places, nats in losses:
        total += float(nats.sum())
        strangers = take(text.ids, places) == tokenizer.unknown
        unknown_nats += float(nats[strangers].sum())
        unknown += int(strangers.sum())
        np.add.at(pieces, places // PIECE, nats + strangers * tokenizer.unknown_nats)
    penalty = unknown * tokenizer.unknown_nats
    score = Score(
        total + penalty,
        len(text.ids),
        text.characters,
        text.bytes,
        unknown,
        unknown_nats + penalty if unknown else 0.0,
    )
    return Tally(
        score, pieces, np.diff(np.minimum(np.arange(len(pieces) + 1) * PIECE, len(text.ids)))
    )


def token_nats(
    model: CharRNN,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Callable[[], Any] | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[tuple[Places, Nats]]:
    """Yield places in `text.ids` and the negative log likelihood in nats of each one's token, on one rank only."""
    groups = shared(segments(text, protocol), ranks)
    yield from nats_of(predictions(model, text.ids, groups, autocast=autocast))


def nats_of(
    found: Iterable[tuple[Places, tuple[npt.NDArray[Any], ...]]],
) -> Iterator[tuple[Places, Nats]]:
    """Take the losses out of what `predictions` yields, in a type that sums of millions are safe in."""
    for places, (losses, *_) in found:
        yield places, losses.astype(np.float64)


def losses_only(logits: Tensor, targets: Tensor) -> tuple[Tensor]:
    """Return the negative log likelihoods of the targets in nats."""
    return (functional.cross_entropy(logits, targets, reduction="none"),)


def predictions(
    model: CharRNN,
    ids: Ids,
    groups: Iterable[tuple[Places, Places]],
    measure: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = losses_only,
    *,
    autocast: Callable[[], Any] | None = None,
) -> Iterator[tuple[Places, tuple[npt.NDArray[Any], ...]]]:
    """Predict every token once and yield places in `ids` with what is measured there, in the order of scoring.

    Args:
        model: Put into evaluation mode for the while.
        ids: The text.
        groups: What is scored side by side, as `segments` yields it.
        measure: Takes logits (tokens, vocab_size) in float32 and targets (tokens,), which it must
            not change; returns tensors (tokens,).
        autocast: As for `evaluate`.
    """
    training = model.training
    model.eval()
    try:
        for begins, ends in groups:
            state = None
            for columns, inputs, targets in _steps(ids, begins, ends, model.start):
                wanted = (columns >= begins[:, 1:]) & (columns < ends)
                with torch.inference_mode(), (autocast or nullcontext)():
                    logits, state = model(inputs.to(model.device), state)
                    found = measure(
                        logits.float().flatten(0, 1), targets.to(model.device).flatten()
                    )
                yield columns[wanted], tuple(value.cpu().numpy()[wanted.ravel()] for value in found)
    finally:
        model.train(training)


# What bounds the memory, and changes no result: segments side by side, steps at a time, tokens and
# logits in one run.
ROWS, CHUNK, TOKENS, LOGITS = 64, 256, 4096, 1 << 25
STREAMS, LONGEST = (
    64,
    8,
)  # a long text has so many segments, longer ones, so that less of the work is warm-up


def segments(text: Encoded, protocol: ScoringProtocol) -> Iterator[tuple[Places, Places]]:
    """Cut a text into groups of segments.

    Arrays of (first token read, first token scored) and of the end.
    """
    length = len(text.ids)
    if protocol.by_record and text.starts is not None:
        yield from record_segments(text.starts, length)
        return
    size = protocol.segment or max(1, length)
    if protocol.segment and protocol.warmup > 1:
        size = max(size, min(LONGEST * size, -(-length // STREAMS)))
    for first in range(0, length, ROWS * size):
        group = np.arange(first, min(first + ROWS * size, length), size)
        begins = np.stack([np.maximum(0, group - protocol.warmup), group], axis=1)
        yield begins, np.minimum(group + size, length)[:, None]


def shared(
    groups: Iterable[tuple[Places, Places]], ranks: Ranks
) -> Iterator[tuple[Places, Places]]:
    """Leave this rank's share of each group's segments, if it has one."""
    for begins, ends in groups:
        if ranks.rank < len(begins):
            yield begins[ranks.rank :: ranks.size], ends[ranks.rank :: ranks.size]


def most_tokens(text: Encoded) -> int:
    """Return how many tokens of a text are scored in one run of the model, at most."""
    groups = segments(text, ScoringProtocol.of(text))
    sizes = [(len(ends), int((ends - begins[:, :1]).max())) for begins, ends in groups]
    return max(rows * max(1, min(CHUNK, TOKENS // rows, longest)) for rows, longest in sizes)


def record_segments(starts: Places, length: int) -> Iterator[tuple[Places, Places]]:
    """Group records by length; each is read and scored from its start on.

    Arrays as `segments` has them.
    """
    ends = np.append(starts[1:], length)
    order, done = np.argsort(starts - ends, kind="stable"), 0  # the longest first
    while done < len(order):
        longest = int((ends - starts)[order[done]])
        group = order[done : done + ROWS * CHUNK // min(longest, CHUNK)]
        yield starts[group, None].repeat(2, axis=1), ends[group, None]
        done += len(group)


def _steps(
    ids: Ids, begins: Places, ends: Places, start: int
) -> Iterator[tuple[Places, Tensor, Tensor]]:
    """Walk along all rows at once.

    (columns, inputs, targets), each (rows, steps), the start symbol first.
    """
    first = begins[:, :1]
    longest = int((ends - first).max())
    steps = max(1, min(CHUNK, TOKENS // len(first), LOGITS // (len(first) * start)))
    for offset in range(0, longest, steps):
        columns = first + np.arange(offset, min(offset + steps, longest))
        inputs = take(ids, np.clip(columns - 1, 0, len(ids) - 1))
        if offset == 0:
            inputs[:, 0] = start
        targets = take(ids, np.minimum(columns, len(ids) - 1))
        yield columns, torch.from_numpy(inputs), torch.from_numpy(targets)
