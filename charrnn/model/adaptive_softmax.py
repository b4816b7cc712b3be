"""Adaptive softmax: an output layer that is cheaper than a plain one for large vocabularies.

    Grave, Joulin, Cisse, Grangier and Jegou 2017, Efficient softmax approximation for GPUs

The head predicts the frequent symbols, which have the smallest ids, and has one entry per tail. A
tail predicts its own symbols through a narrower layer, which in training is computed only where one
of them is the target:

    p(symbol) = p_head(symbol)                             in the head
    p(symbol) = p_head(its tail) * p_tail(symbol)          in a tail

The probabilities are exact and sum to 1. `charrnn.model.shapes.tails` says where the tails begin.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Tail(nn.Module):
    """The output layer of the symbols `begin` .. `end` - 1, through a projection to `width`."""

    def __init__(self, hidden_size: int, begin: int, end: int, width: int) -> None:
        super().__init__()
        self.begin, self.end = begin, end
        self.bias = nn.Parameter(torch.zeros(end - begin))
        self.project = nn.Parameter(nn.init.orthogonal_(torch.empty(width, hidden_size)))
        self.weight = nn.Parameter(
            torch.empty(end - begin, width).uniform_(-(width**-0.5), width**-0.5)
        )

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., hidden_size) to logits (..., end - begin)."""
        return functional.linear(functional.linear(values, self.project), self.weight, self.bias)


def log_probs(head: Tensor, tails: list[Tail], values: Tensor) -> Tensor:
    """Return the log probabilities of all symbols, (..., vocab_size).

    Args:
        head: The head's logits, (..., its symbols + the number of tails).
        tails: The tails, in the order of their symbols.
        values: The output layer's input, (..., hidden_size).
    """
    first, parts = tails[0].begin, functional.log_softmax(at_least_float32(head), dim=-1)
    inside = [functional.log_softmax(at_least_float32(tail(values)), dim=-1) for tail in tails]
    tail_parts = [part + parts[..., first + number, None] for number, part in enumerate(inside)]
    return torch.cat([parts[..., :first], *tail_parts], dim=-1)


def summed_loss(head: Tensor, tails: list[Tail], values: Tensor, targets: Tensor) -> Tensor:
    """Return the summed negative log likelihood of the targets, in nats.

    Tails are computed only for the targets in them.

    Args:
        head: The head's logits, (count, its symbols + the number of tails).
        tails: The tails, in the order of their symbols.
        values: The output layer's input, (count, hidden_size).
        targets: Symbols, (count,); -100 marks positions without a target.
    """
    logits = at_least_float32(head)
    first, total, head_targets = tails[0].begin, logits.new_zeros(()), targets.clone()
    for number, tail in enumerate(tails):
        rows = ((targets >= tail.begin) & (targets < tail.end)).nonzero()[:, 0]
        head_targets[rows] = first + number
        # Computed even for no rows: every rank needs a gradient of every tail, if only of zeros.
        within = at_least_float32(tail(values.index_select(0, rows)))
        wanted = targets[rows] - tail.begin
        total = total + functional.cross_entropy(within, wanted, reduction="sum")
    return total + functional.cross_entropy(logits, head_targets, reduction="sum")


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values in float32, for the sake of long sums; others unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
