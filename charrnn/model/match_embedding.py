"""Embeddings of what followed the last symbols when they were read before; see `matching`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.model.matching import followers


class MatchEmbedding(nn.Module):
    """What followed, as the embeddings of these symbols side by side, one for each length.

    One matrix leads them to the first layer's input, another past all layers to the output layer's
    input. Both start at zero.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = len(config.match_lengths) * config.embedding_size
        self.input_weight = nn.Parameter(torch.zeros(config.embedding_size, width))
        self.output_weight = nn.Parameter(torch.zeros(config.hidden_size, width))

    def forward(self, ids: Tensor, history: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Look up what followed the last symbols of each step.

        Args:
            ids: Symbols, (batch, time) int64, each in 0 .. vocab_size.
            history: Codes of the symbols before them, (batch, match_history) float32.
            embedding: The symbols' embeddings, (vocab_size + 1, embedding_size).

        Returns:
            Embeddings (batch, time, lengths * embedding_size), zeros where nothing matches, and the
            history for the next call.
        """
        codes = torch.cat([history.long(), (ids + 1) % len(embedding)], dim=1)
        found = followers(codes, self.config)
        known = functional.embedding((found - 1).clamp(min=0), embedding) * (found > 0)[..., None]
        return known.flatten(2), codes[:, ids.shape[1] :].to(history.dtype)

    def into_input(self, values: Tensor, found: Tensor) -> Tensor:
        """Add what followed to the first layer's input, (batch, time, embedding_size)."""
        return values + functional.linear(found, self.input_weight)

    def into_output(self, values: Tensor, found: Tensor) -> Tensor:
        """Add what followed to the output layer's input, (batch, time, hidden_size)."""
        return values + functional.linear(found, self.output_weight)
