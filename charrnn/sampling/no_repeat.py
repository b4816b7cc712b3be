"""Repetition control: no sequence of N symbols is written twice within a window.

A small recurrent model loops by falling into a cycle of its own state, and then repeats a long
passage word for word. A penalty on every symbol used lately (Keskar et al. 2019, "CTRL") would hit
the space and the vowels of a model of characters first, in good text too. Forbidding only the
symbol that would complete a sequence for the second time (Paulus et al. 2018 do so with trigrams of
words) leaves all text alone that does not repeat itself, and what it promises can be checked. For
characters, an N of 10 to 20 forbids repeated phrases, and one of 30 or more only loops.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import WINDOW
from charrnn.sampling.logits import Logits
from charrnn.tokenizers.base import Ids


class NoRepeat:
    """What each stream has written lately, and how much of it the stream's end repeats.

    Its size does not grow.

    Attributes:
        size: Symbols of a sequence that must not come twice.
        past: The last symbols, the newest last, (num, WINDOW + 1); -1 before there were so many.
        matched: For each symbol in `past` but the newest: how many symbols up to it are those at
            the stream's end, (num, WINDOW). With it, a step compares one symbol with each, not a
            sequence.
    """

    def __init__(self, size: int, past: Sequence[int] | Ids, num: int) -> None:
        """Begin `num` streams after the symbols `past`."""
        self.size = size
        self.past = np.full((num, WINDOW + 1), -1, np.int64)
        self.matched = np.zeros((num, WINDOW), np.int64)
        for symbol in np.asarray(past)[-2 * WINDOW :].tolist():
            self.append(np.full(num, symbol))

    def append(self, ids: Ids) -> None:
        """Take each stream's next symbol, (num,)."""
        self.past[:, :-1] = self.past[:, 1:]
        self.past[:, -1] = ids
        # One step earlier the symbol before each was at its place now: a match goes on where the
        # symbol is the new one.
        self.matched = np.where(self.past[:, :-1] == ids[:, None], self.matched + 1, 0)

    def select(self, streams: Ids) -> Self:
        """Return a memory whose streams go on from those named, (any number,)."""
        chosen = type(self)(self.size, (), 0)
        chosen.past, chosen.matched = self.past[streams], self.matched[streams]
        return chosen

    def forbid(self, logits: Logits) -> Logits:
        """Remove from (num, vocab_size) what would repeat a sequence.

        A stream with nothing else left keeps its own.
        """
        streams, places = np.nonzero(self.matched >= self.size - 1)
        kept = logits.copy()
        kept[streams, self.past[streams, places + 1]] = -np.inf
        stuck: npt.NDArray[Any] = kept.max(axis=-1, keepdims=True) == -np.inf
        return np.where(stuck, logits, kept)
