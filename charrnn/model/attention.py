"""Attention over the model's own past: one causal head over the last N states of the top layer.

After SHA-RNN (Merity 2019); it is the idea of Bahdanau et al. (2015), with the text so far in the
place of the sentence to translate.

m_t = layer norm of h_t                                    what is remembered of a step
a_t = softmax over s of (W m_t . m_s) / sqrt(size)         s = t - N + 1 .. t, as far as the text
has begun h'  = h_t + V (sum over s of a_ts m_s)

A head as wide as the states needs no matrices for keys and values: they would only ever be
multiplied with W and V. V begins at zero, so that a model begins as the same model without
attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells import State
from charrnn.model.dropout import Dropout

LEAST_BLOCK = 64  # queries that are answered at once, if the window is shorter than that


class Attention(nn.Module):
    """One head over a sliding window.

    Its state is the last N of m (batch, N, size) and how many are there (batch, 1).

    Attributes:
        span: N, at least 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.span = config.attention
        self.dropout = Dropout(config.dropout)
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = nn.LayerNorm(config.hidden_size)
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.zeros_(self.output.weight)

    def forward(self, values: Tensor, state: State) -> tuple[Tensor, State]:
        """Let each of (batch, time, size) look back.

        Return as many, and the state after the last step.
        """
        memory, count = state
        noted = self.norm(values)
        queries, seen = self.query(noted), torch.cat([memory, noted.to(memory.dtype)], dim=1)
        found = [
            self._look_back(queries[:, begin : begin + self._block], seen, count, begin)
            for begin in range(0, values.shape[1], self._block)
        ]
        answers = self.dropout(self.output(torch.cat(found, dim=1)))
        return values + answers, (
            seen[:, -self.span :],
            (count + values.shape[1]).clamp(max=self.span),
        )

    @property
    def _block(self) -> int:
        return max(self.span, LEAST_BLOCK)

    def _look_back(self, queries: Tensor, seen: Tensor, count: Tensor, begin: int) -> Tensor:
        """Answer the queries (batch, some, size) of the steps from `begin` on.

        Args:
            queries: Of these steps.
            seen: The memory and the new states, (batch, span + time, size).
            count: States in the memory, (batch, 1).
            begin: First of the steps.
        """
        first, last = begin + 1, begin + queries.shape[1] + self.span
        keys = seen[:, first:last].to(queries.dtype)
        place = torch.arange(first, last, device=seen.device)
        step = torch.arange(begin, begin + queries.shape[1], device=seen.device)[:, None]
        # Step t is at place span + t of what was seen, and the places before span - count hold
        # nothing yet.
        within = (place > step) & (place <= step + self.span)
        begun = place >= self.span - count
        queries, keys, mask = (
            queries[:, None],
            keys[:, None],
            (within & begun[:, None])[:, None],
        )  # one head
        return functional.scaled_dot_product_attention(queries, keys, keys, attn_mask=mask)[:, 0]
