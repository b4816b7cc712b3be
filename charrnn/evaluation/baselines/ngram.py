"""Characters counted: uniform, unigram, and the interpolated n-gram of Witten & Bell (1991).

The n-gram gives the symbol w after the context h, of which h' is all but the oldest symbol, the
probability

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))

c counts occurrences in the training text, t(h) the different symbols that follow h there, and where
h has never been seen it is p(w | h'). Below the empty context is the uniform distribution over the
characters of the training text and the unknown one, so every symbol has a probability above 0 and
those of each context sum to 1.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from charrnn.evaluation.score import Nats
from charrnn.tokenizers import CharTokenizer
from charrnn.tokenizers.base import Ids

ORDER = 5


@dataclass(frozen=True)
class Alphabet:
    """The characters of the training text, with the unknown one as symbol 0.

    Attributes:
        tokenizer: What maps and prices them.
    """

    tokenizer: CharTokenizer

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the alphabet of a text."""
        return cls(CharTokenizer.train([text]))

    @property
    def size(self) -> int:
        """Symbols, the unknown one included."""
        return self.tokenizer.size

    @property
    def unknown_nats(self) -> float:
        """What an unknown character costs on top of the symbol 0.

        A choice among all that are unknown.
        """
        return self.tokenizer.unknown_nats

    def encode(self, text: str) -> Ids:
        """Return the symbols of a text."""
        return self.tokenizer.encode(text)


def uniform_nats(ids: Ids, size: int) -> float:
    """Return what the symbols cost if all `size` of them are equally likely."""
    return len(ids) * math.log(size)


def unigram_nats(train: Ids, ids: Ids, size: int) -> float:
    """Return what the symbols cost by their frequency in `train`, to which one of each is added."""
    counts = np.bincount(train, minlength=size) + 1
    return float(np.log(counts.sum() / counts[ids]).sum())


def ngram_nats(train: Ids, ids: Ids, size: int, order: int = ORDER) -> Nats:
    """Return what each symbol costs after the `order` - 1 before it, in nats.

    Args:
        train: The training text's symbols, each in 0 .. size - 1.
        ids: The held-out text's; nothing stands before the first, and nothing is learned from them.
        size: Symbols that there are.
        order: Length of the longest sequence counted, at least 1.

    Returns:
        Nats (len(ids),). Memory and time are those of sorting both texts `order` times.
    """
    symbols = np.concatenate([train, ids]).astype(np.int64)
    since = np.concatenate(
        [np.arange(len(train)), np.arange(len(ids))]
    )  # symbols before it in its own text
    held_out = np.arange(len(symbols)) >= len(train)
    probability = np.full(len(ids), 1 / size)
    context = np.zeros_like(
        symbols
    )  # a number for the last `length` symbols before each place: equal if they are
    for length in range(order):
        _, first, gram = np.unique(context * size + symbols, return_index=True, return_inverse=True)
        whole = since >= length
        learned = ~held_out & whole
        counts = np.bincount(gram[learned], minlength=len(first))
        totals = np.bincount(context[learned], minlength=context.max(initial=0) + 1)
        kinds = np.bincount(context[first[counts > 0]], minlength=len(totals))
        asked = context[held_out]
        total, kind = totals[asked], kinds[asked]
        known = whole[held_out] & (total > 0)
        mixed = (counts[gram[held_out]] + kind * probability) / np.maximum(1, total + kind)
        probability = np.where(known, mixed, probability)
        context = np.concatenate([[0], gram[:-1]])
    nats: Nats = -np.log(probability)
    return nats
