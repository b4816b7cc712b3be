"""Records side by side, packed by length.

Whole lines, titles or documents, each from a state of zero.

The records of an epoch are put in order of length and cut into groups; a group's rows are records
of about one length, so little of it is padding. All rows of a group begin together, at the start
symbol, and are walked along together, with the state carried, in windows of at most `seq_len`. With
seq_len 4 and the records anna, bob, christopher, elizabeth:

    group 0   a n n a           group 1   c h r i | s t o p | h e r      padding, here ".", is no
    target:
              b o b .                     e l i z | a b e t | h . .      it changes neither loss nor
              gradient

A batch holds about batch_size * seq_len symbols, so short records stand in more rows than
`batch_size`. Each epoch groups and orders the records anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index

import numpy as np
import numpy.typing as npt
import torch

from charrnn.config.schema import TrainConfig
from charrnn.data.batching.base import NO_TARGET, Batch, Ids, Window, windows
from charrnn.data.id_cache import take

Places = npt.NDArray[np.int64]
SHARE_OF_STREAM = 4  # a piece is at most this part of a stream as the sequential batcher cuts it; see RecordBatcher


@dataclass(frozen=True)
class Group:
    """Pieces of text that are walked along side by side.

    Attributes:
        begins: Where in the text each piece begins, (rows,).
        ends: Where it ends, (rows,).
        from_start: Whether it begins a record, (rows,).
    """

    begins: Places
    ends: Places
    from_start: npt.NDArray[np.bool_]

    @property
    def length(self) -> int:
        """Symbols of the longest piece."""
        return int((self.ends - self.begins).max())


class RecordBatcher:
    """Whole records in groups of one length; see the picture above.

    A record that is longer than len(ids) / (4 * batch_size) is cut into pieces that are walked
    along side by side, as the sequential batcher cuts a text into streams: otherwise a group would
    come down to its longest record, alone. A piece inside a record begins with a state of zero too,
    but with the symbol before it instead of the start symbol.

    Args:
        ids: The records, one after the other.
        starts: Where each begins in `ids`, ascending from 0.
        config: Sizes, truncation and seed.
        start: The start symbol.
    """

    def __init__(self, ids: Ids, starts: Places, config: TrainConfig, start: int) -> None:
        self.ids, self.starts, self.config, self.start = ids, starts, config, start
        self.epoch, self.index = 0, 0
        self.steps = self._plan(0)

    @property
    def batch_size(self) -> int:
        """Rows of the batch before, which are those of the carried state."""
        before = (
            self.steps[self.index - 1] if self.index else self._plan(max(0, self.epoch - 1))[-1]
        )
        return len(before[0].begins)

    def next_batch(self) -> Batch:
        """Return the next batch of this epoch, or the first one of the next."""
        group, (begin, end, carry, scored_from) = self.steps[self.index]
        places = group.begins[:, None] + np.arange(begin - 1, end)
        symbols = take(self.ids, np.clip(places, 0, len(self.ids) - 1))
        padding = places >= group.ends[:, None]
        inputs, targets = (
            np.where(padding, 0, symbols)[:, :-1],
            np.where(padding, NO_TARGET, symbols)[:, 1:],
        )
        if begin == 0:
            inputs[group.from_start, 0] = self.start
        self._advance()
        return Batch(
            torch.from_numpy(inputs), torch.from_numpy(targets), begin == 0, carry, scored_from
        )

    def position(self) -> dict[str, int]:
        """Return the epoch and the index of the next batch in it."""
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an epoch and an index."""
        self.epoch, self.index = index(position["epoch"]), index(position["index"])
        self.steps = self._plan(self.epoch)
        if not 0 <= self.index < len(self.steps):
            raise ValueError(
                f"An epoch has {len(self.steps)} batches, and none of index {self.index}."
            )

    def shapes(self) -> set[tuple[int, int]]:
        """Return the rows and steps of the batches in this epoch."""
        return {(len(group.begins), end - begin) for group, (begin, end, _, _) in self.steps}

    def steps_per_epoch(self) -> float:
        """Return the number of batches in this epoch."""
        return float(len(self.steps))

    def _advance(self) -> None:
        self.index += 1
        if self.index == len(self.steps):
            self.epoch, self.index = self.epoch + 1, 0
            self.steps = self._plan(self.epoch)

    def _plan(self, epoch: int) -> list[tuple[Group, Window]]:
        """Return the batches of an epoch: groups in random order, each group's windows in turn."""
        rng = np.random.default_rng((self.config.seed, epoch))
        begins, ends, from_start = self._pieces(rng)
        shuffled = rng.permutation(len(begins))
        order = shuffled[np.argsort((begins - ends)[shuffled], kind="stable")]  # the longest first
        places = self._cut_groups((ends - begins)[order])
        groups = [
            Group(begins[rows], ends[rows], from_start[rows]) for rows in np.split(order, places)
        ]
        return [
            (groups[chosen], window)
            for chosen in rng.permutation(len(groups))
            for window in self._windows(groups[chosen].length, rng)
        ]

    def _pieces(self, rng: np.random.Generator) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
        """Return where each piece begins and ends and whether it begins a record.

        Long records are cut, at random.
        """
        longest = max(
            self.config.seq_len, len(self.ids) // (SHARE_OF_STREAM * self.config.batch_size)
        )
        ends = np.append(self.starts[1:], len(self.ids))
        cuts = [
            np.arange(self.starts[record] + rng.integers(1, longest + 1), ends[record], longest)
            for record in np.flatnonzero(ends - self.starts > longest)
        ]
        begins = np.sort(np.concatenate([self.starts, *cuts]))
        return begins, np.append(begins[1:], len(self.ids)), np.isin(begins, self.starts)

    def _cut_groups(self, lengths: Places) -> list[int]:
        """Return where the groups of pieces of these lengths, the longest first, begin, but for the first group.

        Each has the symbols of a batch in its first window; the last has half of that at least, so
        that no step moves the weights by what a handful of symbols say, and one and a half at most.
        """
        begin, cuts = 0, list[int]()
        while True:
            rows = max(
                1, self.config.batch_size * self.config.seq_len // self._width(int(lengths[begin]))
            )
            if len(lengths) - begin < rows + (rows + 1) // 2:
                return cuts
            begin += rows
            cuts.append(begin)

    def _width(self, length: int) -> int:
        """Return the steps of a window such that all of a piece's windows are about equal, and none too long."""
        if self.config.bptt_stride is not None:
            return min(length, self.config.seq_len)  # windows overlap, and are of one length
        return -(-length // -(-length // self.config.seq_len))

    def _windows(self, length: int, rng: np.random.Generator) -> list[Window]:
        if self.config.bptt != "fixed" or self.config.bptt_stride is not None:
            return windows(length, self.config, rng)
        width = self._width(length)
        return [
            (begin, min(begin + width, length), min(width, length - begin), 0)
            for begin in range(0, length, width)
        ]
