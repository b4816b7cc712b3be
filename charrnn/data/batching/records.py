"""Batches of records, packed by length: whole lines, titles or documents, each from zero state.

The records of an epoch are sorted by length and cut into groups, so that the records of a group
have similar lengths and need little padding. All rows of a group begin together at the start symbol
and advance together, with the state carried, in windows of at most `seq_len`. With seq_len 4 and
the records anna, bob, christopher, elizabeth:

    group 0   a n n a          group 1   c h r i | s t o p | h e r
              b o b .                    e l i z | a b e t | h . .

Padding, shown as ".", is not a target and has no effect on the loss or its gradient.

A batch has about batch_size * seq_len symbols, so there are more than `batch_size` rows if records
are short. Each epoch groups and orders the records differently.

A record that is longer than a quarter of a stream of the sequential batcher is cut into pieces that
are processed side by side, as that batcher cuts a text into streams; otherwise a group would end
with its longest record alone. A piece inside a record begins with zero state too, but with the
symbol before it instead of the start symbol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index

import numpy as np
import numpy.typing as npt
import torch

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import NO_TARGET, Batch
from charrnn.data.batching.windows import Window, windows
from charrnn.data.mapped import take
from charrnn.tokenizers.base import Ids

Positions = npt.NDArray[np.int64]
PIECES_PER_STREAM = 4  # of the sequential batcher's streams, if they are long enough


@dataclass(frozen=True)
class Pieces:
    """Pieces of text, each from one record.

    Attributes:
        begin: Position of the first symbol of each piece, (pieces,).
        end: Position after its last symbol, (pieces,).
        from_start: Whether it is the beginning of its record, (pieces,).
    """

    begin: Positions
    end: Positions
    from_start: npt.NDArray[np.bool_]

    @property
    def lengths(self) -> Positions:
        """Symbols of each piece."""
        return self.end - self.begin

    def select(self, chosen: Positions) -> "Pieces":
        """Return some of the pieces."""
        return Pieces(self.begin[chosen], self.end[chosen], self.from_start[chosen])


class RecordBatcher:
    """Batches of records in groups of similar length; see the picture above.

    Args:
        ids: The records, one after the other.
        starts: Where each record begins in `ids`, ascending from 0.
        config: Sizes, truncation and seed.
        start: The start symbol.
    """

    def __init__(self, ids: Ids, starts: Positions, config: TrainConfig, start: int) -> None:
        self.ids, self.starts, self.config, self.start = ids, starts, config, start
        self.epoch, self.index = 0, 0
        self.steps = self._plan_epoch(0)

    @property
    def batch_size(self) -> int:
        """Rows of the last batch, and so of the carried state."""
        if self.index:
            group, _ = self.steps[self.index - 1]
        else:
            group, _ = self._plan_epoch(max(0, self.epoch - 1))[-1]
        return len(group.begin)

    def next_batch(self) -> Batch:
        """Return the next batch of this epoch, or the first one of the next."""
        group, window = self.steps[self.index]
        # The first input is the symbol before the window; the last symbol is only a target.
        positions = group.begin[:, None] + np.arange(window.begin - 1, window.end)
        symbols = take(self.ids, np.clip(positions, 0, len(self.ids) - 1))
        padding = positions >= group.end[:, None]
        inputs = np.where(padding, 0, symbols)[:, :-1]
        targets = np.where(padding, NO_TARGET, symbols)[:, 1:]
        first = window.begin == 0
        if first:
            inputs[group.from_start, 0] = self.start
        self._advance()
        tensors = torch.from_numpy(inputs), torch.from_numpy(targets)
        return Batch(*tensors, first, window.carry_at, window.scored_from)

    def position(self) -> dict[str, int]:
        """Return the epoch and the index of the next batch in it."""
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, position: Mapping[str, int]) -> None:
        """Go back to an epoch and an index."""
        self.epoch, self.index = index(position["epoch"]), index(position["index"])
        self.steps = self._plan_epoch(self.epoch)
        if not 0 <= self.index < len(self.steps):
            raise ValueError(f"An epoch has {len(self.steps)} batches, not one of {self.index}.")

    def shapes(self) -> set[tuple[int, ...]]:
        """Return the rows and steps of the batches in this epoch."""
        return {(len(group.begin), window.end - window.begin) for group, window in self.steps}

    def steps_per_epoch(self) -> float:
        """Return the number of batches in this epoch."""
        return float(len(self.steps))

    def _advance(self) -> None:
        self.index += 1
        if self.index == len(self.steps):
            self.epoch, self.index = self.epoch + 1, 0
            self.steps = self._plan_epoch(self.epoch)

    def _plan_epoch(self, epoch: int) -> list[tuple[Pieces, Window]]:
        """Return the batches of an epoch: groups in random order, each group's windows in turn."""
        rng = np.random.default_rng((self.config.seed, epoch))
        groups = self._groups(self._pieces(rng), rng)
        steps = list[tuple[Pieces, Window]]()
        for chosen in rng.permutation(len(groups)):
            group = groups[chosen]
            length = int(group.lengths.max())
            steps += [(group, window) for window in self._windows(length, rng)]
        return steps

    def _pieces(self, rng: np.random.Generator) -> Pieces:
        """Return all records as pieces, the long records cut at random positions."""
        streams = PIECES_PER_STREAM * self.config.batch_size
        longest = max(self.config.seq_len, len(self.ids) // streams)
        ends = np.append(self.starts[1:], len(self.ids))
        cuts = [
            np.arange(self.starts[record] + rng.integers(1, longest + 1), ends[record], longest)
            for record in np.flatnonzero(ends - self.starts > longest)
        ]
        begins = np.sort(np.concatenate([self.starts, *cuts]))
        from_start = np.isin(begins, self.starts)
        return Pieces(begins, np.append(begins[1:], len(self.ids)), from_start)

    def _groups(self, pieces: Pieces, rng: np.random.Generator) -> list[Pieces]:
        """Group pieces of similar length; those of equal length are shuffled."""
        shuffled = rng.permutation(len(pieces.begin))
        longest_first = np.argsort(-pieces.lengths[shuffled], kind="stable")
        order = shuffled[longest_first]
        cuts = self._cut_groups(pieces.lengths[order])
        return [pieces.select(chosen) for chosen in np.split(order, cuts)]

    def _cut_groups(self, lengths: Positions) -> list[int]:
        """Return where the groups of pieces begin, except for the first group.

        The first window of each group has the symbols of a full batch. The last group has between
        half and one and a half times as many, so that no step depends on only a few symbols.

        Args:
            lengths: Lengths of the pieces, the longest first.
        """
        begin, cuts = 0, list[int]()
        while True:
            symbols = self.config.batch_size * self.config.seq_len
            rows = max(1, symbols // self._width(int(lengths[begin])))
            if len(lengths) - begin < rows + (rows + 1) // 2:
                return cuts
            begin += rows
            cuts.append(begin)

    def _width(self, length: int) -> int:
        """Return the width of a piece's windows in time steps, so that all are about equal."""
        if self.config.bptt_stride is not None:
            return min(length, self.config.seq_len)  # windows overlap and have the same width
        count = -(-length // self.config.seq_len)
        return -(-length // count)

    def _windows(self, length: int, rng: np.random.Generator) -> list[Window]:
        if self.config.bptt != "fixed" or self.config.bptt_stride is not None:
            return windows(length, self.config, rng)
        width = self._width(length)
        begins = range(0, length, width)
        return [Window(b, min(b + width, length), min(width, length - b)) for b in begins]
