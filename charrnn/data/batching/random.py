"""Batches of windows at random positions, each from zero state."""

from collections.abc import Mapping
from operator import index

import numpy as np
import torch

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.data.batching.windows import seq_len_at
from charrnn.data.mapped import take
from charrnn.tokenizers.base import Ids


class RandomBatcher:
    """Batches of windows at random positions, each from zero state."""

    def __init__(self, ids: Ids, config: TrainConfig, start: int) -> None:
        self.ids, self.config, self.start = ids, config, start
        self.batch_size, self.seq_len = config.batch_size, min(config.seq_len, len(ids))
        self.index = 0

    def next_batch(self) -> Batch:
        """Return a batch of windows, whose positions depend only on the seed and the index."""
        rng = np.random.default_rng((self.config.seed, self.index))
        seq_len = min(seq_len_at(self.index, self.config), self.seq_len)
        begins = rng.integers(0, len(self.ids) - seq_len + 1, size=(self.batch_size, 1))
        self.index += 1
        targets = torch.from_numpy(take(self.ids, begins + np.arange(seq_len)))
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

    def shapes(self) -> set[tuple[int, ...]]:
        """Return the rows and steps of the longest batches."""
        return {(self.batch_size, self.seq_len)}

    def steps_per_epoch(self) -> float:
        """Return the number of batches that hold as many symbols as the text."""
        return len(self.ids) / (self.batch_size * self.seq_len)
