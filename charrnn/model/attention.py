"""Attention over the model's own past: one causal head over the last N states of the top layer.

After SHA-RNN (Merity 2019). The idea is that of Bahdanau et al. (2015), applied to the text so far
instead of a sentence to translate.

m_t = layer norm of h_t                                    what is remembered of step t
a_t = softmax over s of (W m_t . m_s) / sqrt(size)         s = max(0, t - N + 1) .. t
h'  = h_t + V (sum over s of a_ts m_s)

A head as wide as the states needs no matrices for keys and values: they could be merged into W and
V. V starts at zero, so a new model computes the same as one without attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.model.cells.layer import State
from charrnn.model.dropout import Dropout

MIN_BLOCK = 64  # smallest number of queries computed at once, however short the window


class Attention(nn.Module):
    """One attention head over a sliding window.

    Its state is the last N values of m, (batch, N, size), and how many of them exist, (batch, 1).

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
        """Let each step of (batch, time, size) attend to the last `span` steps, itself included.

        Returns:
            Outputs of the same shape, and the state after the last step.
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
        """Return the attention's output for a block of steps, (batch, steps, size).

        Args:
            queries: Queries of these steps, (batch, steps, size).
            seen: The memory and the new states, (batch, span + time, size).
            count: Number of states in the memory, (batch, 1).
            begin: The first of the steps.
        """
        first, last = begin + 1, begin + queries.shape[1] + self.span
        keys = seen[:, first:last].to(queries.dtype)
        place = torch.arange(first, last, device=seen.device)
        step = torch.arange(begin, begin + queries.shape[1], device=seen.device)[:, None]
        # Step t is at place span + t of `seen`; the places before span - count are empty.
        within = (place > step) & (place <= step + self.span)
        exists = place >= self.span - count
        allowed = (within & exists[:, None])[:, None]  # one head
        queries, keys = queries[:, None], keys[:, None]
        return functional.scaled_dot_product_attention(queries, keys, keys, attn_mask=allowed)[:, 0]
