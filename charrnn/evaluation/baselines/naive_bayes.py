"""Naive Bayes on n-grams: the baseline of text classification (Wang & Manning 2012).

p(label | text) is proportional to p(label) times the product over the text's n-grams g of
(c(g, label) + 1) / (c(label) + V), where c counts n-grams in the training texts of the label, and V
is the number of different ones. N-grams that no training text has are left out.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

ORDERS = {"words": 2, "characters": 4}  # the longest n-grams

Cut = Callable[[str], Sequence[str]]
CUTS: dict[str, Cut] = {"words": str.split, "characters": list}


class NaiveBayes:
    """A multinomial naive Bayes classifier.

    Args:
        pairs: Texts and their labels.
        unit: What n-grams consist of: "words" or "characters".
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], unit: str) -> None:
        self.unit = unit
        self.texts = Counter[str]()
        self.counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        for text, label in pairs:
            self.texts[label] += 1
            self.counts[label].update(self._ngrams(text))
        self.totals = {label: sum(counts.values()) for label, counts in self.counts.items()}
        self.known = set[tuple[str, ...]]().union(*self.counts.values())

    def _ngrams(self, text: str) -> Iterable[tuple[str, ...]]:
        items = CUTS[self.unit](text)
        for order in range(1, ORDERS[self.unit] + 1):
            yield from zip(*(items[start:] for start in range(order)), strict=False)

    def classify(self, text: str) -> str:
        """Return the most probable label of a text; of equals, the one seen first."""
        ngrams = [one for one in self._ngrams(text) if one in self.known]

        def log_probability(label: str) -> float:
            counts, total = self.counts[label], self.totals[label] + len(self.known)
            found = sum(math.log((counts[one] + 1) / total) for one in ngrams)
            return math.log(self.texts[label]) + found

        return max(self.texts, key=log_probability)
