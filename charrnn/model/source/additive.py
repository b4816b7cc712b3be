"""The scores of additive attention (Bahdanau et al. 2015), which are costly where sources are long.

For every pair of a step and a state of the source there is a vector of `hidden_size` numbers. Those
of some pairs are computed at a time, on a CPU so few that they stay in the processor's cache, and
once more for the gradient instead of being kept. The logistic function takes the place of tanh,
since torch computes it about ten times faster on a CPU: tanh(x) = 2 sigmoid(2 x) - 1.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model.adaptive_softmax import at_least_float32

PIECE, LARGE_PIECE = 1 << 17, 1 << 24  # numbers computed at a time: on a CPU, and elsewhere


def additive_scores(queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return vector . tanh(query + key) for each query and key, (batch, time, length).

    Args:
        queries: (batch, time, hidden_size).
        keys: (batch, length, hidden_size).
        vector: (hidden_size,).

    Returns:
        The scores, in float32 at least.
    """
    arrays = map(at_least_float32, (queries, keys, vector))
    scores: Tensor = AdditiveScores.apply(*arrays)  # type: ignore[no-untyped-call]
    return scores


class AdditiveScores(torch.autograd.Function):
    """vector . tanh(query + key), piece by piece."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        """Return the scores (batch, time, length)."""
        scores = queries.new_empty((*queries.shape[:2], keys.shape[1]))
        for rows, steps, squashed in _pieces(queries, keys):
            scores[rows, steps] = (squashed * vector).sum(dim=-1)
        ctx.save_for_backward(queries, keys, vector)
        return scores.mul_(2).sub_(vector.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `queries`, `keys` and `vector`."""
        queries, keys, vector = ctx.saved_tensors
        to_queries, to_keys = torch.empty_like(queries), torch.zeros_like(keys)
        to_vector = torch.zeros_like(vector)
        for rows, steps, squashed in _pieces(queries, keys):
            reached = gradient[rows, steps]  # (rows, steps, length)
            to_vector += reached.reshape(1, -1).mm(squashed.flatten(0, -2))[0]
            slopes = squashed.addcmul_(squashed, squashed, value=-1)  # a quarter of tanh's
            slopes *= reached[..., None]
            to_queries[rows, steps] = slopes.sum(dim=2)
            to_keys[rows] += slopes.sum(dim=1)
        scale = 4 * vector
        return to_queries * scale, to_keys * scale, 2 * to_vector - gradient.sum()


def _pieces(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows, steps, and their sigmoid(2 (query + key)), (rows, steps, length, hidden_size)."""
    batch, time, _ = queries.shape
    queries, keys = 2 * queries, 2 * keys
    piece = PIECE if queries.device.type == "cpu" else LARGE_PIECE
    steps_at_once = max(1, piece // keys[0].numel())
    rows_at_once = max(1, steps_at_once // time)
    for row in range(0, batch, rows_at_once):
        rows = slice(row, row + rows_at_once)
        for step in range(0, time, steps_at_once):
            steps = slice(step, step + steps_at_once)
            yield rows, steps, (queries[rows, steps, None] + keys[rows, None]).sigmoid_()
