"""What a text costs without a network: the figures that any model has to beat.

Each baseline is a function of the held-out text and, as far as it can learn, of the training text.
The statistical ones (`uniform`, `unigram`, `ngram`) give normalised probabilities over the training
text's characters and the unknown one, which is priced as a model's is; the others are the standard
library's compressors.
"""

from collections.abc import Iterator

from charrnn.evaluation.baselines.baseline_score import BaselineScore
from charrnn.evaluation.baselines.compressors import COMPRESSORS, REACH, compressed
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
    """Yield what `text` costs each baseline once it has seen `train`.

    Both have at least one character.
    """
    alphabet = Alphabet.of(train)
    seen, ids = alphabet.encode(train), alphabet.encode(text)
    charge = alphabet.unknown_nats * int((ids == 0).sum())
    yield BaselineScore.of(
        f"uniform over {alphabet.size} characters", uniform_nats(ids, alphabet.size) + charge, text
    )
    yield BaselineScore.of(
        "unigram, add-one", unigram_nats(seen, ids, alphabet.size) + charge, text
    )
    yield BaselineScore.of(
        f"{ORDER}-gram, Witten-Bell", ngram_nats(seen, ids, alphabet.size).sum() + charge, text
    )
    for name, reach in REACH.items():
        yield BaselineScore.of_bytes(
            f"{name}, primed with {reach}", compressed(name, train, text), text
        )


def unprimed(text: str) -> Iterator[BaselineScore]:
    """Yield what `text` costs the baselines that need no training."""
    yield from (
        BaselineScore.of_bytes(f"{name}, not primed", compressed(name, "", text), text)
        for name in COMPRESSORS
    )
