"""Repetition control: no sequence of N symbols is written twice within a window.

A small recurrent model may fall into a cycle of its own state and then repeat a long passage word
for word. A penalty on every recent symbol (Keskar et al. 2019, "CTRL") would, in a model of
characters, mostly affect spaces and vowels, in good text too. Forbidding only the symbol that would
complete a sequence for the second time (Paulus et al. 2018, with trigrams of words) does not affect
text without repetitions, and gives a guarantee. For characters, an N of 10 to 20 prevents repeated
phrases, and one of 30 or more only loops.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import WINDOW
from charrnn.sampling.logits import Logits
from charrnn.tokenizers.base import Ids


class NoRepeat:
    """The last symbols of each stream, and how they match the end of the stream.

    Attributes:
        size: Length of the sequences that must not be repeated.
        past: The last symbols, newest last, (num, WINDOW + 1); -1 where there are none yet.
        matched: For each symbol in `past` but the newest, how many symbols up to it match the end
            of the stream, (num, WINDOW). It saves comparing whole sequences at each step.
    """

    def __init__(self, size: int, past: Sequence[int] | Ids, num: int) -> None:
        """Start `num` streams after the symbols `past`."""
        self.size = size
        self.past = np.full((num, WINDOW + 1), -1, np.int64)
        self.matched = np.zeros((num, WINDOW), np.int64)
        for symbol in np.asarray(past)[-2 * WINDOW :].tolist():
            self.append(np.full(num, symbol))

    def append(self, ids: Ids) -> None:
        """Append each stream's next symbol, (num,)."""
        self.past[:, :-1] = self.past[:, 1:]
        self.past[:, -1] = ids
        # The shift has put each count beside the symbol after it: a match continues where that
        # symbol equals the new one.
        self.matched = np.where(self.past[:, :-1] == ids[:, None], self.matched + 1, 0)

    def select(self, streams: Ids) -> Self:
        """Return a memory of these streams, (any number,), which may be repeated."""
        chosen = type(self)(self.size, (), 0)
        chosen.past, chosen.matched = self.past[streams], self.matched[streams]
        return chosen

    def forbid(self, logits: Logits) -> Logits:
        """Remove the symbols that would repeat a sequence from logits (num, vocab_size).

        The logits of a stream with no other symbol left are not changed.
        """
        streams, places = np.nonzero(self.matched >= self.size - 1)
        kept = logits.copy()
        kept[streams, self.past[streams, places + 1]] = -np.inf
        stuck: npt.NDArray[Any] = kept.max(axis=-1, keepdims=True) == -np.inf
        return np.where(stuck, logits, kept)
