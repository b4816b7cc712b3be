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
        embedding: The symbols' embeddings, (vocab_size + 1, embedding_size).
        weight: What leads those that followed to the first layer's input and to the output layer's
            input, (lengths * embedding_size, embedding_size + hidden_size).
    """

    config: ModelConfig
    embedding: Array
    weight: Array

    def step(self, codes: Array) -> tuple[Array, Array]:
        """Return what a step adds to both inputs.

        Args:
            codes: Codes of the symbols, (batch, match_history + 1) float32.

        Returns:
            (batch, embedding_size) and (batch, hidden_size).
        """
        found = np.array([followers(row, self.config) for row in codes])
        known = self.embedding[found - 1] * (found > 0)[..., None]
        sums = known.reshape(len(known), -1) @ self.weight
        return sums[:, : self.config.embedding_size], sums[:, self.config.embedding_size :]


def prepare_matches(config: ModelConfig, weights: Weights) -> Matches:
    """Prepare the weights of the matches."""
    both = np.concatenate([weights[f"matches.{end}_weight"] for end in ("input", "output")])
    return Matches(config, weights["embedding.weight"], float32_copy(both.T))


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
