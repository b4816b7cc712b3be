"""Batches of whole pairs of like length; every row is a record, and has its source beside it.

An epoch's pairs are shuffled and cut into pools of some batches. Each pool is sorted by length and
cut into batches, so that there is little padding, and the batches of all pools are shuffled:

    source   a b c d e .       target   x y z ;
             a b c d e f                x y ; .

Padding, shown as ".", is not a target, no state of the source's network is computed from it, and
attention never looks at it. A record is never cut: truncation is for streams.

Memory holds 8 bytes for each pair, besides what is mapped from files.
"""

from collections.abc import Mapping
from operator import index

import numpy as np
import numpy.typing as npt
import torch

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import NO_TARGET, Batch, SourceBatch
from charrnn.data.mapped import take
from charrnn.data.sources import Sources
from charrnn.tokenizers.base import Ids

Positions = npt.NDArray[np.int64]
POOL = 64  # batches that are sorted together


class PairBatcher:
    """Batches of pairs; see the picture above.

    Args:
        ids: The targets, one after the other.
        starts: Where each target begins in `ids`, ascending from 0.
        sources: The sources.
        config: `batch_size`, and the seed.
        start: The start symbol.
    """

    def __init__(
        self, ids: Ids, starts: Positions, sources: Sources, config: TrainConfig, start: int
    ) -> None:
        self.ids, self.starts, self.sources = ids, starts, sources
        self.config, self.start = config, start
        self.lengths: Positions = np.diff(np.append(starts, len(ids)))
        self.source_lengths = sources.lengths
        self.epoch, self.index = 0, 0
        self.batches = self._plan_epoch(0)

    @property
    def batch_size(self) -> int:
        """Pairs of the last batch."""
        if self.index:
            return len(self.batches[self.index - 1])
        return len(self._plan_epoch(max(0, self.epoch - 1))[-1])

    def next_batch(self) -> Batch:
        """Return the next batch of this epoch, or the first one of the next."""
        chosen = self.batches[self.index]
        self.index += 1
        if self.index == len(self.batches):
            self.epoch, self.index = self.epoch + 1, 0
            self.batches = self._plan_epoch(self.epoch)
        lengths = self.lengths[chosen]
        time = np.arange(int(lengths.max()))
        places = np.minimum(self.starts[chosen][:, None] + time, len(self.ids) - 1)
        padding = time >= lengths[:, None]
        symbols = take(self.ids, places)
        targets = np.where(padding, NO_TARGET, symbols)
        inputs = np.full_like(symbols, self.start)
        inputs[:, 1:] = np.where(padding, 0, symbols)[:, :-1]
        values, source_lengths = self.sources.take(chosen)
        source = SourceBatch(torch.from_numpy(values), torch.from_numpy(source_lengths))
        tensors = torch.from_numpy(inputs), torch.from_numpy(targets)
        return Batch(*tensors, True, len(time), source=source)

    def position(self) -> dict[str, int]:
        """Return the epoch and the index of the next batch in it."""
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an epoch and an index."""
        self.epoch, self.index = index(position["epoch"]), index(position["index"])
        self.batches = self._plan_epoch(self.epoch)
        if not 0 <= self.index < len(self.batches):
            raise ValueError(f"An epoch has {len(self.batches)} batches, not one of {self.index}.")

    def shapes(self) -> set[tuple[int, ...]]:
        """Return the rows, the steps and the length of the sources of the batches of this epoch."""
        return {self._shape(chosen) for chosen in self.batches}

    def _shape(self, chosen: Positions) -> tuple[int, ...]:
        both = (self.lengths, self.source_lengths)
        return (len(chosen), *(int(lengths[chosen].max()) for lengths in both))

    def steps_per_epoch(self) -> float:
        """Return the number of batches in this epoch."""
        return float(len(self.batches))

    def _plan_epoch(self, epoch: int) -> list[Positions]:
        """Return the pairs of each batch of an epoch; their sizes differ by at most one."""
        rng = np.random.default_rng((self.config.seed, epoch))
        count = len(self.starts)
        batches = max(1, round(count / self.config.batch_size))
        order = rng.permutation(count)
        both = self.lengths + self.source_lengths
        pools = np.array_split(order, -(-batches // POOL))
        ordered = [pool[np.lexsort((self.lengths[pool], both[pool]))] for pool in pools]
        cut = np.array_split(np.concatenate(ordered), batches)
        return [cut[number] for number in rng.permutation(batches)]
