"""Dropout (Srivastava et al. 2014), with random bits that are cheap to draw on a processor."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16  # of 16 random bits


class Dropout(nn.Module):
    """Sets each number to zero with probability `share` while a model trains, and scales the others to keep the mean.

    Attributes:
        share: In 0 .. 1, and not 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Drop some of the values, of any shape.

        All stay as they are in a model that does not train.
        """
        if not self.training or not self.share:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.share)
        return values * mask(values, self.share)


def mask(values: Tensor, share: float) -> Tensor:
    """Return by what to multiply `values`: 0, or what makes up for the zeros.

    Torch draws a processor's random numbers one after the other, so that its own mask takes longer
    than a layer's norm and output together. Here every 64 bits that are drawn decide on four
    numbers. The share is therefore rounded to a multiple of 1 / 65,536, and the scale is that of
    the rounded one.
    """
    dropped = min(round(share * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    kept = bits.view(torch.int16)[: values.numel()].view(values.shape) >= dropped - LEVELS // 2
    return kept.to(values.dtype).mul_(LEVELS / (LEVELS - dropped))
