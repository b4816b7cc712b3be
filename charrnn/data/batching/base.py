"""What a batch is, and what every batcher offers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor

NO_TARGET = -100  # stands where there is nothing to predict; the loss of torch leaves it out


@dataclass(frozen=True)
class Batch:
    """One step's symbols.

    Attributes:
        inputs: What the model sees, (batch, time) int64.
        targets: What it should predict at each step, (batch, time) int64: the inputs moved by one.
            `NO_TARGET` where a record has ended.
        starts_stream: The state starts at zero here; otherwise it continues the batch before.
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

    def shard(self, index: int, count: int) -> Self:
        """Return one of `count` shards of the rows.

        Of fewer rows than shards, some shards have none: they get a row in which there is nothing to
        predict, so that whoever has such a shard can go along with the others.
        """
        chosen = shard(len(self.inputs), index, count)
        if chosen.start < chosen.stop:
            return self.rows(chosen)
        row = self.rows(slice(1))
        return replace(row, targets=torch.full_like(row.targets, NO_TARGET))


def shard(rows: int, index: int, count: int) -> slice:
    """Return the rows of shard `index` among `count`, whose sizes differ by at most one."""
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

        Raises:
            ValueError, TypeError: There is no such place.
        """

    def shapes(self) -> set[tuple[int, int]]:
        """Return the rows and steps of the batches in this epoch."""

    def steps_per_epoch(self) -> float:
        """Return how many batches it takes to see as many symbols as the text has."""
