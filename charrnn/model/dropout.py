"""Dropout (Srivastava et al. 2014), with random bits that are cheap to draw on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16  # of 16 random bits


class Dropout(nn.Module):
    """Sets random values to zero while a model trains, and scales the others to keep the mean.

    Attributes:
        probability: Probability that a value is dropped, at least 0 and below 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values, which may have any shape; in evaluation mode, none."""
        if not self.training or not self.probability:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.probability)
        return values * mask(values, self.probability)


def mask(values: Tensor, probability: float) -> Tensor:
    """Return factors for `values`: 0 where a value is dropped, else 1 / (1 - probability).

    Torch draws random numbers on a CPU one after the other, so that its own mask takes longer than
    a layer's norm and output together. Here 64 random bits decide on four values. The probability
    is rounded to a multiple of 1 / 65,536, and the factor is that of the rounded probability.
    """
    dropped = min(round(probability * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    random = bits.view(torch.int16)[: values.numel()].view(values.shape)
    kept = random >= dropped - LEVELS // 2
    return kept.to(values.dtype).mul_(LEVELS / (LEVELS - dropped))
