"""Character baselines: uniform, unigram, and the interpolated n-gram of Witten & Bell (1991).

The n-gram's probability of the symbol w after the context h is

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))

where h' is h without its oldest symbol, c counts occurrences in the training text, and t(h) counts
the different symbols that follow h there. If h does not occur there, the probability is p(w | h').
The empty context backs off to the uniform distribution over the characters of the training text and
the unknown one. So every symbol has a positive probability, and those of each context sum to 1.
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
        tokenizer: The tokenizer of these characters.
    """

    tokenizer: CharTokenizer

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the alphabet of a text."""
        return cls(CharTokenizer.train([text]))

    @property
    def size(self) -> int:
        """Number of symbols, the unknown one included."""
        return self.tokenizer.size

    @property
    def unknown_nats(self) -> float:
        """The charge for an unknown character, on top of that for the symbol 0, in nats."""
        return self.tokenizer.unknown_nats

    def encode(self, text: str) -> Ids:
        """Return the symbols of a text."""
        return self.tokenizer.encode(text)


def uniform_nats(ids: Ids, size: int) -> float:
    """Return the nats of `ids` if all `size` symbols are equally likely."""
    return len(ids) * math.log(size)


def unigram_nats(train: Ids, ids: Ids, size: int) -> float:
    """Return the nats of `ids` by the add-one frequencies of the `size` symbols in `train`."""
    counts = np.bincount(train, minlength=size) + 1
    return float(np.log(counts.sum() / counts[ids]).sum())


def ngram_nats(train: Ids, ids: Ids, size: int, order: int = ORDER) -> Nats:
    """Return the n-gram's nats of each symbol in `ids` after the `order` - 1 symbols before it.

    Args:
        train: Symbols of the training text, each from 0 to `size` - 1.
        ids: Symbols of the held-out text. The first has no context, and none are learned from.
        size: Number of different symbols.
        order: Length of the longest sequence that is counted, at least 1.

    Returns:
        Nats (len(ids),). Memory and time are those of sorting both texts `order` times.
    """
    symbols = np.concatenate([train, ids]).astype(np.int64)
    # The number of symbols before each one in its own text.
    before = np.concatenate([np.arange(len(train)), np.arange(len(ids))])
    held_out = np.arange(len(symbols)) >= len(train)
    probability = np.full(len(ids), 1 / size)
    # A number for the `length` symbols before each position, equal where those are equal.
    context = np.zeros_like(symbols)
    for length in range(order):
        _, first, gram = np.unique(context * size + symbols, return_index=True, return_inverse=True)
        whole = before >= length
        learned = ~held_out & whole
        counts = np.bincount(gram[learned], minlength=len(first))
        totals = np.bincount(context[learned], minlength=context.max(initial=0) + 1)
        kinds = np.bincount(context[first[counts > 0]], minlength=len(totals))
        seen = context[held_out]
        total, kind = totals[seen], kinds[seen]
        known = whole[held_out] & (total > 0)
        mixed = (counts[gram[held_out]] + kind * probability) / np.maximum(1, total + kind)
        probability = np.where(known, mixed, probability)
        context = np.concatenate([[0], gram[:-1]])
    nats: Nats = -np.log(probability)
    return nats
