"""Batches, and the interface of batchers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

NO_TARGET = -100  # marks steps without a target; torch's loss ignores it


class SourceBatch(NamedTuple):
    """The sources of some records; see `charrnn.data.sources.SourceArrays`.

    Attributes:
        values: Symbols, pixels or features; the first axis is the records.
        lengths: Symbols or features of each, (batch,) int64.
    """

    values: Tensor
    lengths: Tensor

    def rows(self, chosen: slice) -> "SourceBatch":
        """Return some of the rows."""
        return SourceBatch(self.values[chosen], self.lengths[chosen])

    def to(self, device: torch.device) -> "SourceBatch":
        """Return the same sources on a device."""
        return SourceBatch(self.values.to(device), self.lengths.to(device))


@dataclass(frozen=True)
class Batch:
    """The symbols of one optimizer step.

    Attributes:
        inputs: Input symbols, (batch, time) int64.
        targets: Symbols to predict at each time step, (batch, time) int64: the inputs shifted by
            one, and `NO_TARGET` after the end of a record.
        starts_stream: Whether the state starts at zero; otherwise it is that of the batch before.
        carry_at: Time step after which the state is carried to the next batch. It is `time` unless
            windows overlap.
        scored_from: First time step whose loss counts. It is 0 unless the window before has already
            scored the time steps before it.
        source: What each row depends on, if the text's records have sources.
    """

    inputs: Tensor
    targets: Tensor
    starts_stream: bool
    carry_at: int
    scored_from: int = 0
    source: SourceBatch | None = None

    @cached_property
    def tokens(self) -> int:
        """Number of targets whose loss counts."""
        return int((self.targets[:, self.scored_from :] != NO_TARGET).sum())

    def rows(self, chosen: slice) -> Self:
        """Return some of the rows."""
        source = self.source and self.source.rows(chosen)
        return replace(
            self, inputs=self.inputs[chosen], targets=self.targets[chosen], source=source
        )

    def to(self, device: torch.device) -> Self:
        """Return the same batch on a device."""
        source = self.source and self.source.to(device)
        inputs, targets = self.inputs.to(device), self.targets.to(device)
        return replace(self, inputs=inputs, targets=targets, source=source)

    def shard(self, index: int, count: int) -> Self:
        """Return one of `count` shards of the rows.

        If there are fewer rows than shards, an empty shard gets a row without targets, so that all
        processes compute something.
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
    """An endless source of batches, whose position can be saved and restored."""

    @property
    def batch_size(self) -> int:
        """Rows of each batch; rows of the last batch if they vary."""

    def next_batch(self) -> Batch:
        """Return the next batch and advance."""

    def position(self) -> dict[str, int]:
        """Return the position of the next batch, as plain numbers."""

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to a position that `position` returned.

        Raises:
            ValueError, TypeError: There is no such position.
        """

    def shapes(self) -> set[tuple[int, ...]]:
        """Return the rows and steps of the batches in this epoch, and the length of sources."""

    def steps_per_epoch(self) -> float:
        """Return how many batches have as many symbols as the text."""
