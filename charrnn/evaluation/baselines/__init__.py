"""Baselines: scores without a neural network, which any model should beat.

Each baseline depends on the held-out text, and most on the training text too. The statistical ones
(`uniform`, `unigram`, `ngram`) give normalised probabilities over the training text's characters
and the unknown one, which is charged for as in a model. The others are the standard library's
compressors.
"""

from collections.abc import Iterator

from charrnn.errors import counted
from charrnn.evaluation.baselines.baseline_score import BaselineScore
from charrnn.evaluation.baselines.compressors import COMPRESSORS, PRIMED_WITH, compressed
from charrnn.evaluation.baselines.ngram import (
    ORDER,
    Alphabet,
    ngram_nats,
    uniform_nats,
    unigram_nats,
)

__all__ = [
    "COMPRESSORS",
    "ORDER",
    "Alphabet",
    "BaselineScore",
    "compressed",
    "ngram_nats",
    "primed",
    "unprimed",
]


def primed(train: str, text: str) -> Iterator[BaselineScore]:
    """Yield the score of each baseline on `text` after learning from `train`.

    Both texts have at least one character.
    """
    alphabet = Alphabet.of(train)
    learned, ids = alphabet.encode(train), alphabet.encode(text)
    charge = alphabet.unknown_nats * int((ids == 0).sum())
    yield BaselineScore.of(
        f"uniform over {counted(alphabet.size, 'character')}",
        uniform_nats(ids, alphabet.size) + charge,
        text,
    )
    yield BaselineScore.of(
        "unigram, add-one", unigram_nats(learned, ids, alphabet.size) + charge, text
    )
    yield BaselineScore.of(
        f"{ORDER}-gram, Witten-Bell", ngram_nats(learned, ids, alphabet.size).sum() + charge, text
    )
    for name, context in PRIMED_WITH.items():
        yield BaselineScore.of_bytes(
            f"{name}, primed with {context}", compressed(name, train, text), text
        )


def unprimed(text: str) -> Iterator[BaselineScore]:
    """Yield the scores of the baselines that need no training text."""
    yield from (
        BaselineScore.of_bytes(f"{name}, not primed", compressed(name, "", text), text)
        for name in COMPRESSORS
    )
