"""Streams of symbols from a model, decoded in parallel, each with its own random numbers."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.logits import Logits, ban, draw, log_softmax
from charrnn.tokenizers.base import Ids

BLOCK = 64  # random numbers generated at once for a stream; does not change the numbers


class StepModel(Protocol):
    """A model that reads one symbol of each stream at a time, such as `NumpyModel`."""

    @property
    def start(self) -> int:
        """The start symbol's id."""
        ...

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """Return the state before the first symbol: arrays whose first axis is the streams."""
        ...

    def step(self, ids: Ids, state: Any) -> tuple[Logits, tuple[Any, ...]]:
        """Read ids (batch,), without changing `state`.

        Returns:
            Logits (batch, vocab_size), and the new state.
        """
        ...


class DecoderState(NamedTuple):
    """The state of some streams, from which decoding can continue any number of times.

    Attributes:
        ids: The last symbol of each stream, which the model has not read yet, (num,).
        state: The model's state before that symbol.
    """

    ids: Ids
    state: tuple[Any, ...]

    def select(self, streams: Sequence[int] | Ids) -> "DecoderState":
        """Return the state of these streams, which may be repeated."""
        rows = np.asarray(streams, dtype=np.intp)
        return DecoderState(self.ids[rows], tuple(part[rows] for part in self.state))


class DecodedStep(NamedTuple):
    """One symbol of each stream.

    Attributes:
        after: The streams' state after the step; its ids are the symbols drawn, (num,).
        logits: The model's prediction, before any rule, (num, vocab_size).
    """

    after: DecoderState
    logits: Logits

    @property
    def ids(self) -> Ids:
        """The symbols drawn, (num,)."""
        return self.after.ids

    def log_probs(self) -> npt.NDArray[np.float64]:
        """Return the log probability of each symbol in the model's own prediction, (num,)."""
        return log_softmax(self.logits)[np.arange(len(self.ids)), self.ids]


def text_start(model: StepModel) -> DecoderState:
    """Return the state of one stream at the beginning of a text."""
    return DecoderState(np.array([model.start]), model.initial_state(1))


def prefill(model: StepModel, before: DecoderState, ids: Sequence[int] | Ids) -> DecoderState:
    """Return the state of one stream after `ids`, (any number,), are appended to it."""
    last, state = before
    for symbol in ids:
        _, state = model.step(last, state)
        last = np.array([symbol], dtype=np.int64)
    return DecoderState(last, state)


def uniform_numbers(seed: int, streams: range) -> Iterator[npt.NDArray[np.float64]]:
    """Yield, endlessly, a random number in [0, 1) for each stream, (num,).

    Stream i has its own generator, seeded by (`seed`, i), so its numbers do not depend on the other
    streams.
    """
    rngs = [np.random.default_rng((seed, stream)) for stream in streams]
    while True:
        yield from np.stack([rng.random(BLOCK) for rng in rngs], axis=1)


class Rule(Protocol):
    """A rule about what may be drawn that depends on what was drawn before."""

    def forbid(self, logits: Logits) -> Logits:
        """Remove what must not be drawn next from logits (num, vocab_size)."""
        ...

    def append(self, ids: Ids) -> None:
        """Take the symbols that were drawn, (num,)."""
        ...


def decode(
    model: StepModel,
    before: DecoderState,
    config: SamplingConfig,
    numbers: Iterator[npt.NDArray[np.float64]],
    *,
    rules: Sequence[Rule] = (),
    banned: Sequence[int] = (),
) -> Iterator[DecodedStep]:
    """Draw `config.length` symbols in each stream, yielding each step as it is drawn.

    Args:
        model: The model that predicts.
        before: The streams' state.
        config: The other rules; `no_repeat` is one of `rules`, and `stop`, `until` and `unknown`
            concern text.
        numbers: From `uniform_numbers`; each step uses one per stream, whatever the rules.
        rules: Rules that remember what was drawn, in the order in which they apply.
        banned: Ids that are never drawn.
    """
    current = before
    for uniform in islice(numbers, config.length):
        logits, state = model.step(*current)
        allowed = ban(logits, banned)
        for rule in rules:
            allowed = rule.forbid(allowed)
        current = DecoderState(draw(allowed, config, uniform), state)
        for rule in rules:
            rule.append(current.ids)
        yield DecodedStep(current, logits)
