"""Adaptive softmax.

An output layer whose cost does not grow with a large vocabulary as a plain one's does.

    Grave, Joulin, Cisse, Grangier and Jegou 2017, Efficient softmax approximation for GPUs

Frequent symbols, which have the small ids, are predicted by the head, beside one entry for each
tail. A tail predicts its own symbols through a narrower layer, and in training only where one of
them is the target:

    p(symbol) = p_head(symbol)                             in the head
    p(symbol) = p_head(its tail) * p_tail(symbol)          in a tail

so that probabilities are exact and sum to 1 all the same. `charrnn.model.shapes.tails` says where
the tails begin.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Tail(nn.Module):
    """The output layer of the symbols `begin` .. `end` - 1, through `width` numbers."""

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
    """Return the logarithms of all symbols' probabilities, (..., vocab_size).

    Args:
        head: The head's logits, (..., its symbols + the number of tails).
        tails: In the order of their symbols.
        values: What the logits were made from, (..., hidden_size).
    """
    first, parts = tails[0].begin, functional.log_softmax(whole(head), dim=-1)
    inside = [functional.log_softmax(whole(tail(values)), dim=-1) for tail in tails]
    tail_parts = [part + parts[..., first + number, None] for number, part in enumerate(inside)]
    return torch.cat([parts[..., :first], *tail_parts], dim=-1)


def summed_loss(head: Tensor, tails: list[Tail], values: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the targets' negative log likelihoods, computing a tail only where a target is in it.

    Args:
        head: The head's logits, (count, its symbols + the number of tails).
        tails: In the order of their symbols.
        values: What the logits were made from, (count, hidden_size).
        targets: Symbols, (count,); one of -100 is no target.
    """
    first, total, places = tails[0].begin, whole(head).new_zeros(()), targets.clone()
    for number, tail in enumerate(tails):
        rows = ((targets >= tail.begin) & (targets < tail.end)).nonzero()[:, 0]
        places[rows] = first + number
        within = whole(
            tail(values.index_select(0, rows))
        )  # of none at all, the gradient is zero: no rank lacks it
        total = total + functional.cross_entropy(
            within, targets[rows] - tail.begin, reduction="sum"
        )
    return total + functional.cross_entropy(whole(head), places, reduction="sum")


def whole(values: Tensor) -> Tensor:
    """Return half-precision values in single precision: sums of many need it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
