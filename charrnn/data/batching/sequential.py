"""Batches of parallel streams with carried state; `charrnn.data.batching` has a picture."""

from collections.abc import Mapping
from operator import index

import numpy as np
import torch

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.data.batching.windows import windows
from charrnn.data.mapped import take
from charrnn.tokenizers.base import Ids


class SequentialBatcher:
    """Batches of parallel streams with carried state."""

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
        symbols = take(self.ids, (self.offsets + columns) % len(self.ids))
        if begin == 0:
            symbols[:, 0] = self.start
        self._advance()
        rows = torch.from_numpy(symbols)
        return Batch(rows[:, :-1], rows[:, 1:], begin == 0, carry, scored_from)

    def position(self) -> dict[str, int]:
        """Return the epoch, the index of the next batch in it, and the number of batches before it.

        The last number counts the batches before the epoch.
        """
        return {"epoch": self.epoch, "index": self.index, "first_step": self.first_step}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an epoch and an index."""
        self.epoch, self.index = index(position["epoch"]), index(position["index"])
        # Only a curriculum needs `first_step`, and positions that lack it are older than that.
        self.first_step = index(position.get("first_step", 0))
        if self.first_step < 0:
            raise ValueError(f"There are no {self.first_step} batches before an epoch.")
        self._cut()
        if not 0 <= self.index < len(self.windows):
            raise ValueError(
                f"An epoch has {len(self.windows)} batches, and none of index {self.index}."
            )

    def shapes(self) -> set[tuple[int, ...]]:
        """Return the rows and steps of the batches in this epoch."""
        return {(self.batch_size, end - begin) for begin, end, _, _ in self.windows}

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
        """Cut the text for this epoch, at a random offset so that epochs cut it differently."""
        rng = np.random.default_rng((self.config.seed, self.epoch))
        offset = int(rng.integers(len(self.ids)))
        self.offsets = offset + self.stream_length * np.arange(self.batch_size)[:, None]
        self.windows = windows(self.stream_length, self.config, rng, self.first_step)
