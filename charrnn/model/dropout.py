"""Dropout (Srivastava et al. 2014), with random bits that are cheap to draw on a processor."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16  # of 16 random bits


class Dropout(nn.Module):
    """Sets values to zero while a model trains, and scales the others to keep the mean.

    Attributes:
        probability: Of each value to be dropped, at least 0 and below 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values, of any shape; in evaluation mode all stay as they are."""
        if not self.training or not self.probability:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.probability)
        return values * mask(values, self.probability)


def mask(values: Tensor, probability: float) -> Tensor:
    """Return by what to multiply `values`: 0, or what makes up for the zeros.

    Torch draws a processor's random numbers one after the other, so that its own mask takes longer
    than a layer's norm and output together. Here every 64 bits that are drawn decide on four values.
    The probability is therefore rounded to a multiple of 1 / 65,536, and the scale is that of the
    rounded one.
    """
    dropped = min(round(probability * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    random = bits.view(torch.int16)[: values.numel()].view(values.shape)
    kept = random >= dropped - LEVELS // 2
    return kept.to(values.dtype).mul_(LEVELS / (LEVELS - dropped))
