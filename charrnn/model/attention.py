"""Attention over the model's own past: one causal head over the last N states of the top layer.

After SHA-RNN (Merity 2019); it is the idea of Bahdanau et al. (2015), with the text so far in the
place of the sentence to translate.

m_t = layer norm of h_t                                    what is remembered of a step
a_t = softmax over s of (W m_t . m_s) / sqrt(size)         s = t - N + 1 .. t, once the text has begun
h'  = h_t + V (sum over s of a_ts m_s)

A head as wide as the states needs no matrices for keys and values: they would only ever be multiplied
with W and V. V starts at zero, so that a model starts as the same model without attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.layer import State
from charrnn.model.dropout import Dropout

MIN_BLOCK = 64  # queries that are answered at once, if the window is shorter than that


class Attention(nn.Module):
    """One head over a sliding window.

    Its state is the last N of m (batch, N, size), and how many of them exist (batch, 1).

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
        """Let each step of (batch, time, size) attend to the last ones, its own included.

        Returns:
            As many values, and the state after the last step.
        """
        memory, count = state
        remembered, block = self.norm(values), max(self.span, MIN_BLOCK)
        queries = self.query(remembered)
        seen = torch.cat([memory, remembered.to(memory.dtype)], dim=1)
        found = [
            self._attend(queries[:, begin : begin + block], seen, count, begin)
            for begin in range(0, values.shape[1], block)
        ]
        answers = self.dropout(self.output(torch.cat(found, dim=1)))
        count = (count + values.shape[1]).clamp(max=self.span)
        return values + answers, (seen[:, -self.span :], count)

    def _attend(self, queries: Tensor, seen: Tensor, count: Tensor, begin: int) -> Tensor:
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
        # Step t stands at place span + t of what was seen; before place span - count there is nothing.
        within = (place > step) & (place <= step + self.span)
        exists = place >= self.span - count
        allowed = (within & exists[:, None])[:, None]  # one head
        queries, keys = queries[:, None], keys[:, None]
        return functional.scaled_dot_product_attention(queries, keys, keys, attn_mask=allowed)[:, 0]
