"""How well a model predicts a text: the one definition, used wherever a text is scored.

A text is cut into segments, which are scored side by side. A segment reads some tokens before it is
scored, so that its state is about what a serial pass would carry there:

    position in the ids    0 1 2 3 4 5 6 7 8 9 ...
    segment 0              S S S S                     S: read and scored, R: read only
    segment 1                  R R S S S S
    segment 2                          R R S S S S

The token at a position is predicted from those before it. So where a segment predicts the token at
`position`, its input is the one at `position` - 1, or the start symbol where the segment begins.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charrnn.data.encoding import Encoded, take
from charrnn.evaluation.score import (
    PIECE,
    Nats,
    Positions,
    Score,
    ScoreBreakdown,
    ScoringProtocol,
)
from charrnn.model.network import CharRNN
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

Autocast = Callable[[], Any]  # makes the context in which a model runs, for lower precision
Measured = tuple[npt.NDArray[Any], ...]

# What bounds the memory, and changes no result.
MAX_ROWS = 64  # segments side by side
MAX_STEPS = 256  # time steps in one run of the model
MAX_TOKENS = 4096  # tokens in one run
MAX_LOGITS = 1 << 25  # logits in one run
# A long text has about so many segments, longer ones by up to so much: less of the work is warm-up.
WANTED_SEGMENTS, MAX_LENGTHENING = 64, 8


def evaluate(
    model: CharRNN,
    tokenizer: Tokenizer,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Autocast | None = None,
    group: ProcessGroup = ALONE,
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
        autocast: None computes in the weights' own precision.
        group: Processes that share the work; all have the same arguments and get the same score.
    """
    losses = token_nats(model, text, protocol, autocast=autocast, group=group)
    score = break_down(losses, tokenizer, text).score
    total, unknown, unknown_nats = group.sum(score.nats, score.unknown, score.unknown_nats)
    return replace(score, nats=total, unknown=int(unknown), unknown_nats=unknown_nats)


def break_down(
    losses: Iterable[tuple[Positions, Nats]], tokenizer: Tokenizer, text: Encoded
) -> ScoreBreakdown:
    """Add up what each token of a text costs.

    Args:
        losses: Positions in `text.ids` and their nats, in any order.
        tokenizer: The one that made the ids.
        text: The ids, and the characters and bytes that they stand for.
    """
    total = unknown_nats = 0.0
    unknown, pieces = 0, np.zeros(-(-len(text.ids) // PIECE))
    for positions, nats in losses:
        total += float(nats.sum())
        is_unknown = take(text.ids, positions) == tokenizer.unknown
        unknown_nats += float(nats[is_unknown].sum())
        unknown += int(is_unknown.sum())
        np.add.at(pieces, positions // PIECE, nats + is_unknown * tokenizer.unknown_nats)
    charge = unknown * tokenizer.unknown_nats
    charged = unknown_nats + charge if unknown else 0.0
    tokens, characters = len(text.ids), text.characters
    score = Score(total + charge, tokens, characters, text.bytes, unknown, charged)
    ends = np.minimum(np.arange(len(pieces) + 1) * PIECE, tokens)
    return ScoreBreakdown(score, pieces, np.diff(ends))


def token_nats(
    model: CharRNN,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Autocast | None = None,
    group: ProcessGroup = ALONE,
) -> Iterator[tuple[Positions, Nats]]:
    """Yield positions in `text.ids` and the nats of the token at each, this process's share only."""
    shares = shard(segments(text, protocol), group)
    yield from nats_of(predictions(model, text.ids, shares, autocast=autocast))


def nats_of(found: Iterable[tuple[Positions, Measured]]) -> Iterator[tuple[Positions, Nats]]:
    """Take the losses out of what `predictions` yields, in float64, as they will be summed up."""
    for positions, (losses, *_) in found:
        yield positions, losses.astype(np.float64)


def losses_only(logits: Tensor, targets: Tensor) -> tuple[Tensor]:
    """Return the negative log likelihoods of the targets in nats."""
    return (functional.cross_entropy(logits, targets, reduction="none"),)


@dataclass(frozen=True)
class Segments:
    """Segments that are scored side by side, as positions in a text's ids, (rows, 1) each.

    Attributes:
        read_from: The first token that is read.
        score_from: The first token that is scored.
        end: The position after the last one.
    """

    read_from: Positions
    score_from: Positions
    end: Positions

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return int((self.end - self.read_from).max())

    def steps(self, vocab_size: int) -> int:
        """Return how many time steps fit into one run of a model."""
        rows = len(self.end)
        return max(1, min(MAX_STEPS, MAX_TOKENS // rows, MAX_LOGITS // (rows * vocab_size)))

    def rows(self, chosen: slice) -> "Segments":
        """Return some of them."""
        return Segments(self.read_from[chosen], self.score_from[chosen], self.end[chosen])


def predictions(
    model: CharRNN,
    ids: Ids,
    groups: Iterable[Segments],
    measure: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = losses_only,
    *,
    autocast: Autocast | None = None,
) -> Iterator[tuple[Positions, Measured]]:
    """Predict every token once.

    Args:
        model: Put into evaluation mode for the while.
        ids: The text.
        groups: What is scored side by side.
        measure: Takes logits (tokens, vocab_size) in float32 and targets (tokens,), which it must
            not change; returns tensors (tokens,).
        autocast: As for `evaluate`.

    Yields:
        Positions in `ids`, and what is measured there, in the order of scoring.
    """
    training = model.training
    model.eval()
    try:
        for group in groups:
            state = None
            for positions, inputs, targets in _walk(ids, group, model.start):
                with torch.inference_mode(), (autocast or nullcontext)():
                    logits, state = model(inputs.to(model.device), state)
                    flat = logits.float().flatten(0, 1)
                    found = measure(flat, targets.to(model.device).flatten())
                scored = (positions >= group.score_from) & (positions < group.end)
                values = tuple(value.cpu().numpy()[scored.ravel()] for value in found)
                yield positions[scored], values
    finally:
        model.train(training)


def _walk(ids: Ids, group: Segments, start: int) -> Iterator[tuple[Positions, Tensor, Tensor]]:
    """Walk along all segments of a group at once, the start symbol first.

    Yields:
        Positions of the targets, inputs and targets, (rows, steps) each.
    """
    longest, steps, last = group.longest, group.steps(start), len(ids) - 1
    for offset in range(0, longest, steps):
        positions = group.read_from + np.arange(offset, min(offset + steps, longest))
        inputs = take(ids, np.clip(positions - 1, 0, last))
        if offset == 0:
            inputs[:, 0] = start
        targets = take(ids, np.minimum(positions, last))
        yield positions, torch.from_numpy(inputs), torch.from_numpy(targets)


def segments(text: Encoded, protocol: ScoringProtocol) -> Iterator[Segments]:
    """Cut a text into groups of segments."""
    length = len(text.ids)
    if protocol.by_record and text.starts is not None:
        yield from record_segments(text.starts, length)
        return
    size = protocol.segment or max(1, length)
    if protocol.segment and protocol.warmup > 1:
        size = max(size, min(MAX_LENGTHENING * size, -(-length // WANTED_SEGMENTS)))
    for first in range(0, length, MAX_ROWS * size):
        begin = np.arange(first, min(first + MAX_ROWS * size, length), size)[:, None]
        read_from = np.maximum(0, begin - protocol.warmup)
        yield Segments(read_from, begin, np.minimum(begin + size, length))


def record_segments(starts: Positions, length: int) -> Iterator[Segments]:
    """Group records by length, the longest first; each is read and scored from its start on."""
    ends = np.append(starts[1:], length)
    order, done = np.argsort(starts - ends, kind="stable"), 0
    while done < len(order):
        longest = int((ends - starts)[order[done]])
        rows = MAX_ROWS * MAX_STEPS // min(longest, MAX_STEPS)
        chosen = order[done : done + rows, None]
        yield Segments(starts[chosen], starts[chosen], ends[chosen])
        done += len(chosen)


def shard(groups: Iterable[Segments], group: ProcessGroup) -> Iterator[Segments]:
    """Leave this process's share of each group's segments, if it has one."""
    for one in groups:
        if group.rank < len(one.end):
            yield one.rows(slice(group.rank, None, group.size))


def max_tokens(text: Encoded) -> int:
    """Return how many tokens of a text are scored in one run of the model, at most."""
    groups = segments(text, ScoringProtocol.of(text))
    return max(len(one.end) * min(one.steps(1), one.longest) for one in groups)
