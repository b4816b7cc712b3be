"""What a batch is, what every batcher offers, and how a stream is cut into windows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.config.schema import TrainConfig

Ids = npt.NDArray[np.integer[Any]]
NO_TARGET = -100  # stands where there is nothing to predict; the loss of torch leaves it out


@dataclass(frozen=True)
class Batch:
    """One step's symbols.

    Attributes:
        inputs: What the model sees, (batch, time) int64.
        targets: What it should predict at each step, (batch, time) int64: the inputs moved by one.
            `NO_TARGET` where a record has ended.
        starts_stream: The state begins at zero here; otherwise it continues the batch before.
        carry_at: Steps after which the state is handed to the next batch. `time`, unless windows
            overlap.
        scored_from: First step whose loss counts. 0, unless the window before has scored the steps
            until here.
    """

    inputs: Tensor
    targets: Tensor
    starts_stream: bool
    carry_at: int
    scored_from: int = 0

    @cached_property
    def tokens(self) -> int:
        """Symbols that this step learns to predict."""
        return int((self.targets[:, self.scored_from :] != NO_TARGET).sum())

    def rows(self, chosen: slice) -> Self:
        """Return some of the rows."""
        return replace(self, inputs=self.inputs[chosen], targets=self.targets[chosen])

    def to(self, device: torch.device) -> Self:
        """Return the same batch on a device."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def share(self, index: int, count: int) -> Self:
        """Return one of `count` shares of the rows.

        Of fewer rows than shares, some shares have none: they get a row in which there is nothing
        to predict, so that whoever has such a share can go along with the others.
        """
        chosen = share(len(self.inputs), index, count)
        if chosen.start < chosen.stop:
            return self.rows(chosen)
        row = self.rows(slice(1))
        return replace(row, targets=torch.full_like(row.targets, NO_TARGET))


def share(rows: int, index: int, count: int) -> slice:
    """Return which of the rows are the share of `index` among `count` shares, whose sizes differ by at most one."""
    return slice(rows * index // count, rows * (index + 1) // count)


class Batcher(Protocol):
    """An endless source of batches that can say where it is and go back there."""

    @property
    def batch_size(self) -> int:
        """Rows of each batch, or of the batch before if they differ."""

    def next_batch(self) -> Batch:
        """Return the next batch and move on."""

    def position(self) -> dict[str, int]:
        """Return where the next batch comes from, as plain numbers."""

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to what `position` returned.

        Raise `ValueError` or `TypeError` if there is no such place.
        """

    def shapes(self) -> set[tuple[int, int]]:
        """Return the rows and steps of the batches in this epoch."""

    def steps_per_epoch(self) -> float:
        """Return how many batches it takes to see as many symbols as the text has."""


Window = tuple[int, int, int, int]


def seq_len_at(step: int, config: TrainConfig) -> int:
    """Return the sequence length of a step (0 is the first).

    With a curriculum (Elman 1993, Bengio et al. 2009) the first half of the steps is cut into equal
    shares, one for each doubling from `seq_len_start` on that is still shorter than `seq_len`; the
    second half has `seq_len`.
    """
    lengths = curriculum(config)
    stage = 2 * step * len(lengths) // config.steps
    return lengths[stage] if stage < len(lengths) else config.seq_len


def curriculum(config: TrainConfig) -> list[int]:
    """Return the lengths that come before `seq_len`, each for an equal share of the first half of the steps."""
    length, lengths = config.seq_len_start or config.seq_len, list[int]()
    while length < config.seq_len:
        lengths.append(length)
        length *= 2
    return lengths


def windows(
    length: int, config: TrainConfig, rng: np.random.Generator, first_step: int = 0
) -> list[Window]:
    """Cut one stream into (begin, end, carry_at, scored_from), each target counted once.

    `fixed` and `random` tile it; `full` takes it whole. With a stride T1 and seq_len T2, windows of
    T2 begin every T1 steps and each scores what the one before did not (Williams & Peng 1990,
    BPTT(T2; T1)): the first one scores everything, the following ones their last T1 steps, through
    which the gradient reaches T2 steps back. `first_step` is the run's step that takes the first
    window: a curriculum depends on it.
    """
    seq_len = length if config.bptt == "full" else min(config.seq_len, length)
    if config.bptt_stride is not None and config.bptt_stride < seq_len:
        stride = config.bptt_stride
        begins = range(0, max(1, length - seq_len + stride), stride)
        ends = [min(begin + seq_len, length) for begin in begins]
        return [
            (b, e, min(stride, e - b), seq_len - stride if b else 0)
            for b, e in zip(begins, ends, strict=True)
        ]
    cuts = [0]
    while cuts[-1] < length:
        if config.seq_len_start is not None:
            seq_len = min(seq_len_at(first_step + len(cuts) - 1, config), length)
        step = (
            int(rng.integers(max(1, seq_len // 2), seq_len * 3 // 2 + 1))
            if config.bptt == "random"
            else seq_len
        )
        cuts.append(min(cuts[-1] + step, length))
    return [(begin, end, end - begin, 0) for begin, end in pairwise(cuts)]
