"""Measures of what a model makes of a source: of texts against references, and of labels. No torch.

A source that occurs several times has several references; the one that is closest counts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BLEU_ORDER = 4  # words of the longest n-grams; BLEU of shorter texts says nothing
Z = 1.959964  # of a 95 % interval

References = Sequence[str]


@dataclass(frozen=True)
class TextMeasures:
    """How some texts compare with their references.

    Attributes:
        count: Number of texts.
        exact: Fraction that equals a reference.
        character_error_rate: Edit distance in characters, divided by the references' characters.
        word_error_rate: The same for words, which are separated by white space.
    """

    count: int
    exact: float
    character_error_rate: float
    word_error_rate: float

    @classmethod
    def of(cls, found: Iterable[tuple[str, References]]) -> "TextMeasures":
        """Return the measures of texts, each with its references; there is at least one text."""
        count = exact = 0
        characters, words = _ErrorRate(), _ErrorRate()
        for text, references in found:
            count += 1
            exact += text in references
            characters.add(text, references)
            words.add(text.split(), [one.split() for one in references])
        return cls(count, exact / count, characters.rate, words.rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values."""
        return vars(self) | {"exact_interval": wilson(round(self.exact * self.count), self.count)}


class _ErrorRate:
    def __init__(self) -> None:
        self.distance = self.length = 0

    def add(self, text: Sequence[Any], references: Sequence[Sequence[Any]]) -> None:
        from rapidfuzz.distance import Levenshtein  # takes as long to load as all the rest

        distance, length = min((Levenshtein.distance(text, one), -len(one)) for one in references)
        self.distance += distance
        self.length -= length

    @property
    def rate(self) -> float:
        return self.distance / max(1, self.length)


def wilson(successes: int, count: int) -> list[float]:
    """Return the 95 % interval of a fraction (Wilson 1927)."""
    share, square = successes / count, Z * Z / count
    centre = share + square / 2
    margin = Z * math.sqrt(share * (1 - share) / count + square / count / 4)
    return [max(0.0, (centre - margin) / (1 + square)), min(1.0, (centre + margin) / (1 + square))]


@dataclass(frozen=True)
class LabelMeasures:
    """How predicted labels compare with the true ones.

    Attributes:
        labels: The labels.
        confusion: How often each label (rows) was taken for each (columns), (labels, labels).
    """

    labels: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, labels: tuple[str, ...], wanted: npt.NDArray[Any], found: npt.NDArray[Any]
    ) -> "LabelMeasures":
        """Return the measures of predicted labels, as numbers (count,), against the true ones."""
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, (wanted, found), 1)
        return cls(labels, confusion)

    @property
    def accuracy(self) -> float:
        """Fraction of correct labels."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def macro_f1(self) -> float:
        """Mean over the labels that occur of the harmonic mean of precision and recall."""
        sizes = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        right = 2 * np.diag(self.confusion)
        return float(np.mean((right / np.maximum(1, sizes))[sizes > 0]))

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values."""
        right, count = int(np.trace(self.confusion)), int(self.confusion.sum())
        return {
            "count": count,
            "accuracy": self.accuracy,
            "accuracy_interval": wilson(right, count),
            "macro_f1": self.macro_f1,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }


def bleu_and_chrf(found: Sequence[tuple[str, References]]) -> dict[str, Any] | None:
    """Return BLEU and chrF of texts with sacrebleu, and its signatures; None if it is missing.

    Nothing is returned for references of fewer than four words.

    Nothing is tokenised: words are what white space separates, as in a tokenised reference.
    """
    if max(len(one.split()) for _, references in found for one in references) < BLEU_ORDER:
        return {}
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        return None
    texts = [text for text, _ in found]
    most = max(len(references) for _, references in found)
    # A text with fewer references than another has its first one again, which changes nothing.
    streams = [[refs[n] if n < len(refs) else refs[0] for _, refs in found] for n in range(most)]
    bleu, chrf = BLEU(tokenize="none", force=True), CHRF()
    scores = {"bleu": bleu.corpus_score(texts, streams), "chrf": chrf.corpus_score(texts, streams)}
    return {name: one.score for name, one in scores.items()} | {
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }
