"""What followed when the last symbols were read before, in NumPy; see `charrnn.model.matching`."""

from dataclasses import dataclass

import numpy as np

from charrnn.config.model import ModelConfig
from charrnn.model.numpy_layers import Array, Weights, float32_copy

WIDTH = 4  # bytes of a code


@dataclass(frozen=True)
class Matches:
    """The matches of a model, prepared for inference.

    Attributes:
        config: The window and the lengths.
        followed: For each length and code what the first layer's input and the output layer's input
            get, (lengths, vocab_size + 1, embedding_size + hidden_size); 0 for code 0.
    """

    config: ModelConfig
    followed: Array

    def step(self, codes: Array) -> tuple[Array, Array]:
        """Return what a step adds to both inputs.

        Args:
            codes: Codes of the symbols, (batch, match_history + 1) float32.

        Returns:
            (batch, embedding_size) and (batch, hidden_size).
        """
        found = np.array([followers(row, self.config) for row in codes])
        sums = self.followed[np.arange(found.shape[1]), found].sum(axis=1)
        return sums[:, : self.config.embedding_size], sums[:, self.config.embedding_size :]


def prepare_matches(config: ModelConfig, weights: Weights) -> Matches:
    """Prepare the weights of the matches."""
    embedding = weights["embedding.weight"]
    both = np.concatenate([weights[f"matches.{end}_weight"] for end in ("input", "output")])
    parts = np.split(both, len(config.match_lengths), axis=1)
    followed = np.stack([embedding @ part.T for part in parts])
    followed = np.roll(followed, 1, axis=1)  # the code of the start symbol, the last one, is 0
    followed[:, 0] = 0
    return Matches(config, float32_copy(followed))


def followers(codes: Array, config: ModelConfig) -> list[int]:
    """Return the code that followed the latest match of each length; 0 without a match.

    Args:
        codes: Codes of the symbols of one stream, (match_history + 1,) float32.
        config: The window and the lengths.
    """
    text, found = codes.tobytes(), []
    longest, end = config.match_lengths[-1], len(codes) - 1
    for length in config.match_lengths:
        if end:  # a longer match is not later than a shorter one
            end = _last_place(text, text[-length * WIDTH :], (longest - length) * WIDTH, end)
        found.append(int(codes[end]) if end else 0)
    return found


def _last_place(text: bytes, pattern: bytes, begin: int, end: int) -> int:
    """Return the number of codes up to the end of the last place of a pattern; 0 if it has none.

    Args:
        text: Codes as bytes.
        pattern: Codes as bytes.
        begin: The first byte to look at.
        end: The number of codes that it may end with.
    """
    end *= WIDTH
    while (place := text.rfind(pattern, begin, end)) % WIDTH:
        if place < 0:
            return 0
        end = place + len(pattern) - 1  # these bytes are parts of other codes
    return (place + len(pattern)) // WIDTH
