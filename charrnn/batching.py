"""Cutting a text into batches, for truncated backpropagation through time.

`sequential`: the text becomes `batch_size` parallel streams, and each batch takes the next `seq_len` symbols of every
stream. Row i of a batch continues row i of the batch before, so the state is carried and the model learns from context
that is longer than a gradient reaches. With batch_size 3, seq_len 4 and the text a b c ... x:

    stream 0   a b c d | e f g h            batch 0  a b c d     batch 1  e f g h     inputs are the same, one symbol
    stream 1   i j k l | m n o p                     i j k l              m n o p     earlier: the first input of a
    stream 2   q r s t | u v w x                     q r s t              u v w x     stream is the start symbol

    state:     zeros -> batch 0 -> detached -> batch 1 -> ... until the epoch ends; the next epoch cuts elsewhere.

`random`: each row is a window from a random place, and the state starts at zero in every batch.

Both are functions of (seed, position): a position is all that a resumed run needs to see the same batches again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import TextError

Ids = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Batch:
    """One step's symbols.

    Attributes:
        inputs: What the model sees, (batch, time) int64.
        targets: What it should predict at each step, (batch, time) int64: the inputs moved by one.
        starts_stream: The state begins at zero here; otherwise it continues the batch before.
        carry_at: Steps after which the state is handed to the next batch. `time`, unless windows overlap.
        scored_from: First step whose loss counts. 0, unless the window before has scored the steps until here.
    """

    inputs: Tensor
    targets: Tensor
    starts_stream: bool
    carry_at: int
    scored_from: int = 0


class Batcher(Protocol):
    """An endless source of batches that can say where it is and go back there.

    Attributes:
        batch_size: Rows of each batch.
    """

    batch_size: int

    def next_batch(self) -> Batch:
        """Return the next batch and move on."""

    def position(self) -> dict[str, int]:
        """Return where the next batch comes from, as plain numbers."""

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to what `position` returned; raise `ValueError` or `TypeError` if there is no such place."""

    def steps_per_epoch(self) -> float:
        """Return how many batches it takes to see as many symbols as the text has."""


class SequentialBatcher:
    """Parallel streams with carried state; see the picture above."""

    def __init__(self, ids: Ids, config: TrainConfig, start: int) -> None:
        self.ids, self.config, self.start = ids, config, start
        self.batch_size = min(config.batch_size, max(1, len(ids) // 2))
        self.stream_length = len(ids) // self.batch_size
        self.epoch, self.index, self.first_step = 0, 0, 0
        self._cut()

    def next_batch(self) -> Batch:
        """Return the next batch of this epoch, or the first one of the next."""
        begin, end, carry, scored_from = self.windows[self.index]
        columns = np.arange(begin - 1, end)
        symbols = self.ids[(self.offsets + columns) % len(self.ids)].astype(np.int64)
        if begin == 0:
            symbols[:, 0] = self.start
        self._advance()
        rows = torch.from_numpy(symbols)
        return Batch(rows[:, :-1], rows[:, 1:], begin == 0, carry, scored_from)

    def position(self) -> dict[str, int]:
        """Return the epoch, the index of the next batch in it, and how many batches there were before the epoch."""
        return {"epoch": self.epoch, "index": self.index, "first_step": self.first_step}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an epoch and an index."""
        self.epoch, self.index = index(position["epoch"]), index(position["index"])
        self.first_step = index(position.get("first_step", 0))  # only a curriculum asks, and none is older than it
        self._cut()
        if not 0 <= self.index < len(self.windows):
            raise ValueError(f"An epoch has {len(self.windows)} batches, and none of index {self.index}.")

    def steps_per_epoch(self) -> float:
        """Return the number of batches in this epoch."""
        return float(len(self.windows))

    def _advance(self) -> None:
        self.index += 1
        if self.index == len(self.windows):
            self.first_step += self.index
            self.epoch, self.index = self.epoch + 1, 0
            self._cut()

    def _cut(self) -> None:
        """Cut this epoch: a random offset, so that no epoch breaks the text at the same places."""
        rng = np.random.default_rng((self.config.seed, self.epoch))
        offset = int(rng.integers(len(self.ids)))
        self.offsets = offset + self.stream_length * np.arange(self.batch_size)[:, None]
        self.windows = windows(self.stream_length, self.config, rng, self.first_step)


Window = tuple[int, int, int, int]


def seq_len_at(step: int, config: TrainConfig) -> int:
    """Return the sequence length of a step (0 is the first).

    With a curriculum (Elman 1993, Bengio et al. 2009) the first half of the steps is cut into equal shares, one for
    each doubling from `seq_len_start` on that is still shorter than `seq_len`; the second half has `seq_len`.
    """
    lengths = curriculum(config)
    share = 2 * step * len(lengths) // config.steps
    return lengths[share] if share < len(lengths) else config.seq_len


def curriculum(config: TrainConfig) -> list[int]:
    """Return the lengths that come before `seq_len`, each for an equal share of the first half of the steps."""
    length, lengths = config.seq_len_start or config.seq_len, list[int]()
    while length < config.seq_len:
        lengths.append(length)
        length *= 2
    return lengths


def windows(length: int, config: TrainConfig, rng: np.random.Generator, first_step: int = 0) -> list[Window]:
    """Cut one stream into (begin, end, carry_at, scored_from), each target counted once.

    `fixed` and `random` tile it; `full` takes it whole. With a stride T1 and seq_len T2, windows of T2 begin every T1
    steps and each scores what the one before did not (Williams & Peng 1990, BPTT(T2; T1)): the first one scores
    everything, the following ones their last T1 steps, through which the gradient reaches T2 steps back. `first_step`
    is the run's step that takes the first window: a curriculum depends on it.
    """
    seq_len = length if config.bptt == "full" else min(config.seq_len, length)
    if config.bptt_stride is not None and config.bptt_stride < seq_len:
        stride = config.bptt_stride
        begins = range(0, max(1, length - seq_len + stride), stride)
        ends = [min(begin + seq_len, length) for begin in begins]
        return [(b, e, min(stride, e - b), seq_len - stride if b else 0) for b, e in zip(begins, ends, strict=True)]
    cuts = [0]
    while cuts[-1] < length:
        if config.seq_len_start is not None:
            seq_len = min(seq_len_at(first_step + len(cuts) - 1, config), length)
        step = int(rng.integers(max(1, seq_len // 2), seq_len * 3 // 2 + 1)) if config.bptt == "random" else seq_len
        cuts.append(min(cuts[-1] + step, length))
    return [(begin, end, end - begin, 0) for begin, end in pairwise(cuts)]


class RandomBatcher:
    """Windows from random places, each from a state of zero."""

    def __init__(self, ids: Ids, config: TrainConfig, start: int) -> None:
        self.ids, self.config, self.start = ids, config, start
        self.batch_size, self.seq_len = config.batch_size, min(config.seq_len, len(ids))
        self.index = 0

    def next_batch(self) -> Batch:
        """Return a batch of windows; which ones is a function of the seed and the index alone."""
        rng = np.random.default_rng((self.config.seed, self.index))
        seq_len = min(seq_len_at(self.index, self.config), self.seq_len)
        begins = rng.integers(0, len(self.ids) - seq_len + 1, size=(self.batch_size, 1))
        self.index += 1
        targets = torch.from_numpy(self.ids[begins + np.arange(seq_len)].astype(np.int64))
        first = torch.full((len(targets), 1), self.start)
        return Batch(torch.cat([first, targets[:, :-1]], dim=1), targets, True, seq_len)

    def position(self) -> dict[str, int]:
        """Return the index of the next batch."""
        return {"index": self.index}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an index."""
        self.index = index(position["index"])
        if self.index < 0:
            raise ValueError(f"There is no batch of index {self.index}.")

    def steps_per_epoch(self) -> float:
        """Return the number of batches that hold as many symbols as the text."""
        return len(self.ids) / (self.batch_size * self.seq_len)


BATCHERS: dict[str, type[SequentialBatcher] | type[RandomBatcher]] = {
    "sequential": SequentialBatcher,
    "random": RandomBatcher,
}


def make_batcher(ids: Ids, config: TrainConfig, start: int) -> Batcher:
    """Return the batcher that `config` names.

    Raises:
        TextError: The text has fewer than two symbols.
    """
    if len(ids) < 2:
        raise TextError(f"The training text has {len(ids)} symbols; at least 2 are needed.")
    return BATCHERS[config.batcher](ids, config, start)
