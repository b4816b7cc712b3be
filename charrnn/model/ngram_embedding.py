"""Embeddings of the last 2, 3, ... symbols, beside the embedding of the symbol itself.

A matrix may lead their sum to the output layer too, past all recurrent layers, or only there: what
usually follows an n-gram need not pass through the recurrent state (as with the words of Bengio et
al. 2003, "A Neural Probabilistic Language Model", equation 1, and the n-grams of Mikolov et al.
2011, "Strategies for Training Large Scale Neural Network Language Models", section 4).

A look-up costs next to nothing, however large the tables are, and only the rows that a batch needs
get a gradient. So a network reads sequences of symbols as if each were a symbol of its own (Huang
et al. 2025, "Over-Tokenized Transformer"). `charrnn.model.ngram_hash` says which row is whose.

The last symbols are a part of the model's state: N - 1 codes per stream, as exact float32 numbers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.model.dropout import Dropout
from charrnn.model.ngram_hash import ngram_rows


class NGramEmbedding(nn.Module):
    """Tables of embeddings, one for each order, one after another in `weight`.

    The rows start at zero. Their gradient is a sparse tensor. Dropout leaves out whole n-grams, so
    that the network learns to do with shorter ones: after some passes over a text, the longer ones
    know it by heart.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        rows = len(config.ngram_orders) * config.ngram_rows
        self.weight = nn.Parameter(torch.zeros(rows, config.embedding_size))
        self.dropout = Dropout(config.ngram_dropout)
        self.skip: nn.Linear | None = None
        if config.ngrams_to_output:
            self.skip = nn.Linear(config.embedding_size, config.hidden_size, bias=False)
            nn.init.normal_(self.skip.weight, std=config.embedding_size**-0.5)

    def forward(self, ids: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the embeddings of each step's n-grams.

        Args:
            ids: Symbols, (batch, time) int64, each in 0 .. vocab_size.
            before: Codes of the symbols before them, (batch, highest order - 1) float32.

        Returns:
            The sums (batch, time, embedding_size), and the last codes, for the next call.
        """
        codes = torch.cat([before.long(), (ids + 1) % (self.config.vocab_size + 1)], dim=1)
        rows = torch.stack(list(ngram_rows(codes, self.config)), dim=-1).flatten(0, 1)
        kept = None
        if self.training and self.dropout.probability:
            kept = self.dropout(torch.ones(rows.shape, device=rows.device))
        sums = functional.embedding_bag(
            rows, self.weight, mode="sum", sparse=True, per_sample_weights=kept
        )
        return sums.view(*ids.shape, -1), codes[:, ids.shape[1] :].to(before.dtype)

    def into_output(self, values: Tensor, sums: Tensor) -> Tensor:
        """Add what the sums say to the output layer's input, (batch, time, hidden_size)."""
        return values if self.skip is None else values + self.skip(sums)

    def separate(self, ids: Tensor) -> Tensor:
        """Return the embeddings of the n-grams that end with each symbol of a text.

        Args:
            ids: The text, from its beginning, (time,) int64.

        Returns:
            An embedding for each order, (time, orders, embedding_size).
        """
        codes = functional.pad(ids + 1, (self.config.ngram_embedding - 1, 0))
        rows = torch.stack(list(ngram_rows(codes[None], self.config)), dim=-1)
        return functional.embedding(rows[0], self.weight)
