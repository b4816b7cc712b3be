"""How well a model predicts a text: the one implementation, used wherever a text is scored.

A text is cut into segments, which are scored side by side. Each segment first reads some tokens
before it, so that its state is close to the one that a serial pass would carry there:

    position in the ids    0 1 2 3 4 5 6 7 8 9 ...
    segment 0              S S S S                     S: read and scored, R: read only
    segment 1                  R R S S S S
    segment 2                          R R S S S S

The input for predicting the token at a position is the token before it, or the start symbol at the
beginning of a segment. A model with matches looks for them in what comes before that, too, as if it
had been read, with the token that stands there instead of the start symbol.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charrnn.data.encoding import Encoded
from charrnn.data.mapped import take
from charrnn.data.sources import Sources
from charrnn.evaluation.score import Nats, Positions, Score, ScoringProtocol, break_down
from charrnn.model.blended_network import Network
from charrnn.model.cells.layer import State
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

Autocast = Callable[[], Any]  # returns the context in which the model runs, for lower precision
Measured = tuple[npt.NDArray[Any], ...]

# Limits for one call of the model. They bound the memory and do not change any result.
MAX_ROWS = 64  # segments side by side
MAX_STEPS = 256  # time steps
MAX_TOKENS = 4096
MAX_LOGITS = 1 << 25
MAX_ALIGNED = 1 << 18  # pairs of a step and a state of the source
# Segments of a long text are lengthened by up to this factor, until there are about this many: a
# smaller part of the work is then warm-up.
MAX_LENGTHENING, WANTED_SEGMENTS = 8, 64


def evaluate(
    model: Network,
    tokenizer: Tokenizer,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Autocast | None = None,
    group: ProcessGroup = ALONE,
) -> Score:
    """Score every token of a text; the first is predicted from the start symbol.

    The probability of an unknown character is that of the unknown token times a uniform choice
    among the code points outside the vocabulary.

    Args:
        model: The model. It runs in evaluation mode; afterwards, its mode and all random generators
            are as before.
        tokenizer: The tokenizer that made the ids.
        text: The ids, and the characters and bytes that they stand for.
        protocol: How the state is carried or reset.
        autocast: Returns the context for the number format; None uses that of the weights.
        group: The processes that share the work. All call this with the same arguments and get the
            same score.
    """
    losses = token_nats(model, text, protocol, autocast=autocast, group=group)
    return summed(break_down(losses, tokenizer, text).score, group)


def summed(score: Score, group: ProcessGroup) -> Score:
    """Return the score of a text from the scores of all processes' shards of it."""
    total, unknown, unknown_nats = group.sum(score.nats, score.unknown, score.unknown_nats)
    return replace(score, nats=total, unknown=int(unknown), unknown_nats=unknown_nats)


def token_nats(
    model: Network,
    text: Encoded,
    protocol: ScoringProtocol,
    *,
    autocast: Autocast | None = None,
    group: ProcessGroup = ALONE,
) -> Generator[tuple[Positions, Nats]]:
    """Yield positions in `text.ids` and the nats of the tokens there, for this process's shard."""
    own = shard(segments(text, protocol), group)
    found = predictions(model, text.ids, own, sources=text.sources, autocast=autocast)
    yield from nats_of(found)


def nats_of(found: Iterable[tuple[Positions, Measured]]) -> Iterator[tuple[Positions, Nats]]:
    """Yield the positions and losses of `predictions`, in float64 for summing."""
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
        end: The position after the last token.
        records: The numbers of the records that they are, (rows,); None for parts of a stream.
        remembers: Whether matches are looked for in what comes before the first token that is read.
    """

    read_from: Positions
    score_from: Positions
    end: Positions
    records: Positions | None = None
    remembers: bool = False

    @property
    def longest(self) -> int:
        """Length of the longest segment in tokens."""
        return int((self.end - self.read_from).max())

    def steps(self, vocab_size: int) -> int:
        """Return the number of time steps for one call of a model."""
        rows = len(self.end)
        return max(1, min(MAX_STEPS, MAX_TOKENS // rows, MAX_LOGITS // (rows * vocab_size)))

    def rows(self, chosen: slice) -> "Segments":
        """Return some of the segments."""
        places = (self.read_from[chosen], self.score_from[chosen], self.end[chosen])
        records = None if self.records is None else self.records[chosen]
        return Segments(*places, records, self.remembers)


def predictions(
    model: Network,
    ids: Ids,
    groups: Iterable[Segments],
    measure: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = losses_only,
    *,
    sources: Sources | None = None,
    autocast: Autocast | None = None,
) -> Iterator[tuple[Positions, Measured]]:
    """Predict every token once, and measure the predictions.

    Args:
        model: The model, which runs in evaluation mode.
        ids: The text.
        groups: Groups of segments that are scored side by side.
        measure: Takes logits (tokens, vocab_size) in float32 and targets (tokens,), neither of
            which it may change; returns tensors (tokens,).
        sources: The sources of the text's records, if it has any; the segments are records then.
        autocast: As for `evaluate`.

    Yields:
        Positions in `ids` and the measurements there, in the order of scoring.
    """
    with _evaluation_mode(model):
        for group in groups:
            remembers = group.remembers and model.match_history > 0
            state = _remembering(model, ids, group) if remembers else None
            state = state if sources is None else _begin(model, sources, group, autocast)
            for positions, inputs, targets in _walk(ids, group, model.start, remembers=remembers):
                context = (autocast or nullcontext)()
                logits, state = _forward(model, inputs, state, context)
                found = measure(logits, targets.to(model.device).flatten())
                scored = (positions >= group.score_from) & (positions < group.end)
                values = tuple(value.cpu().numpy()[scored.ravel()] for value in found)
                yield positions[scored], values


def _remembering(model: Network, ids: Ids, group: Segments) -> State:
    """Return a state that remembers what comes before segments."""
    positions = group.read_from - 1 + np.arange(-model.match_history, 0)
    before = take(ids, np.maximum(positions, 0))
    before[positions < 0] = model.start
    return model.remembering(torch.from_numpy(before).to(model.device))


@torch.inference_mode()
def _begin(model: Network, sources: Sources, group: Segments, autocast: Autocast | None) -> State:
    """Return the state before records that have sources."""
    assert group.records is not None
    arrays = (torch.from_numpy(one).to(model.device) for one in sources.take(group.records))
    with (autocast or nullcontext)():
        return model.begin(*arrays)


@torch.inference_mode()
def _forward(
    model: Network, inputs: Tensor, state: State | None, context: AbstractContextManager[Any]
) -> tuple[Tensor, State]:
    """Return the logits of a call of the model, (tokens, vocab_size) in float32, and its state."""
    with context:
        logits, state = model(inputs.to(model.device), state)
        return logits.float().flatten(0, 1), state


@contextmanager
def _evaluation_mode(model: Network) -> Iterator[None]:
    """Put a model into evaluation mode, and back into its previous mode at the end."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _walk(
    ids: Ids, group: Segments, start: int, *, remembers: bool
) -> Iterator[tuple[Positions, Tensor, Tensor]]:
    """Walk along all segments of a group at once, from the start symbol or the one before them.

    Yields:
        Positions of the targets, inputs, and targets, (rows, steps) each.
    """
    longest, steps, last = group.longest, group.steps(start), len(ids) - 1
    for offset in range(0, longest, steps):
        positions = group.read_from + np.arange(offset, min(offset + steps, longest))
        inputs = take(ids, np.clip(positions - 1, 0, last))
        if offset == 0:
            known = remembers & (group.read_from[:, 0] > 0)
            inputs[:, 0] = np.where(known, inputs[:, 0], start)
        targets = take(ids, np.minimum(positions, last))
        yield positions, torch.from_numpy(inputs), torch.from_numpy(targets)


def segments(text: Encoded, protocol: ScoringProtocol) -> Iterator[Segments]:
    """Yield the segments of a text, in groups that are scored side by side."""
    length = len(text.ids)
    if protocol.by_record and text.starts is not None:
        yield from record_segments(text, text.starts)
        return
    size = protocol.segment or max(1, length)
    if protocol.segment and protocol.warmup > 1:
        size = max(size, min(MAX_LENGTHENING * size, -(-length // WANTED_SEGMENTS)))
    for first in range(0, length, MAX_ROWS * size):
        begin = np.arange(first, min(first + MAX_ROWS * size, length), size)[:, None]
        read_from = np.maximum(0, begin - protocol.warmup)
        end, remembers = np.minimum(begin + size, length), protocol.warmup > 1
        yield Segments(read_from, begin, end, remembers=remembers)


def record_segments(text: Encoded, starts: Positions) -> Iterator[Segments]:
    """Yield records as segments, in groups of similar length with their sources, longest first."""
    ends = np.append(starts[1:], len(text.ids))
    lengths = ends - starts if text.sources is None else ends - starts + text.sources.lengths
    order, done = np.argsort(-lengths, kind="stable"), 0
    while done < len(order):
        longest = int(lengths[order[done]])
        rows = MAX_ROWS * MAX_STEPS // min(longest, MAX_STEPS)
        if text.sources is not None:  # attention looks from each step at each state
            rows = max(1, min(MAX_ROWS * MAX_STEPS // longest, MAX_ALIGNED // longest**2))
        chosen = order[done : done + rows]
        begin = starts[chosen, None]
        yield Segments(begin, begin, ends[chosen, None], chosen)
        done += len(chosen)


def shard(groups: Iterable[Segments], group: ProcessGroup) -> Iterator[Segments]:
    """Yield this process's shard of each group of segments, unless it is empty."""
    for one in groups:
        if group.rank < len(one.end):
            yield one.rows(slice(group.rank, None, group.size))
