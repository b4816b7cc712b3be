"""The recurrence that minGRU and minLSTM share, over a whole sequence at once.

z_t = sigmoid(g_t)                           gate
h_t = (1 - z_t) * h_{t-1} + z_t * c_t        weighted mean of the old state and the candidate c

Neither g nor c depends on h, so a time step is one multiplication and one addition. Both forms
below work in linear space, on factors between 0 and 1, so nothing overflows or underflows, however
long the sequence.

On a CPU, a plain loop over time is fastest, with the gates of a few steps computed at a time so
that they are still in the cache when they are needed. On a GPU, where launching a step costs more
than the step, a parallel scan doubles the span that is combined, from 1 to 2 to 4 steps and so on,
for the whole sequence at once (Hillis & Steele 1986).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 16  # steps whose gates are computed at once


def gated_scan(products: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return every h of the recurrence, and the last one.

    Args:
        products: g and c side by side, (batch, time, 2 * size).
        start: h before the first step, (batch, size); everything is computed in its number format.

    Returns:
        h (batch, time, size) in the format of `products`, and the last h (batch, size) in that of
        `start`.
    """
    form = LoopedScan if products.device.type == "cpu" else ParallelScan
    outputs, last = form.apply(products, start)  # type: ignore[no-untyped-call]
    return outputs, last


class LoopedScan(torch.autograd.Function):
    """One step after the other; the gradient runs from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return h (batch, time, size) and the last h."""
        batch, time, size = *products.shape[:2], start.shape[1]
        outputs, hidden = products.new_empty(batch, time, size), start
        buffer = start.new_empty(3, BLOCK, batch, size)
        for block in blocks(time):
            update, candidate, steps = read_gates(products, block, buffer)
            for gate, value, step in zip(update.sigmoid_(), candidate, steps, strict=True):
                hidden = torch.lerp(hidden, value, gate, out=step)
            outputs[:, block] = steps.transpose(0, 1)
        ctx.save_for_backward(products, outputs, start)
        return outputs, hidden.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of `products` and `start`."""
        products, outputs, start = ctx.saved_tensors
        changes, size = torch.empty_like(products), start.shape[1]
        buffer = start.new_empty(4, BLOCK, *start.shape)
        for block in reversed([*blocks(products.shape[1])]):
            update, candidate, total, keep = read_gates(products, block, buffer)
            torch.sub(1, update.sigmoid_(), out=keep)
            total.copy_(gradient[:, block].transpose(0, 1))
            total[-1] += later
            for time in reversed(range(len(total) - 1)):  # add the gradient from the next h
                total[time].addcmul_(keep[time + 1], total[time + 1])
            later = keep[0] * total[0]
            candidate[1:] -= outputs[:, block.start : block.stop - 1].transpose(0, 1)
            candidate[0] -= outputs[:, block.start - 1] if block.start else start
            total *= update
            changes[:, block, size:] = total.transpose(0, 1)
            changes[:, block, :size] = candidate.mul_(total).mul_(keep).transpose(0, 1)
        return changes, later


def blocks(time: int) -> Iterator[slice]:
    """Yield slices that cover 0 .. time in blocks of `BLOCK` steps; the last may be shorter."""
    return (slice(begin, min(begin + BLOCK, time)) for begin in range(0, time, BLOCK))


def read_gates(products: Tensor, block: slice, buffer: Tensor) -> Tensor:
    """Copy g and c of a block of steps into the first two arrays of `buffer`.

    Args:
        products: g and c side by side, (batch, time, 2 * size).
        block: The steps.
        buffer: Memory for a block, (arrays, BLOCK, batch, size). It is reused for all blocks, as
            allocating it costs more than computing in it.

    Returns:
        The buffer's part for these steps, (arrays, steps, batch, size).
    """
    arrays, size = buffer[:, : block.stop - block.start], buffer.shape[-1]
    arrays[0].copy_(products[:, block, :size].transpose(0, 1))
    arrays[1].copy_(products[:, block, size:].transpose(0, 1))
    return arrays


class ParallelScan(torch.autograd.Function):
    """All steps in parallel, in about log2(time) rounds."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return h (batch, time, size) and the last h."""
        gate, candidate = products.to(start.dtype).chunk(2, dim=-1)
        update = torch.sigmoid(gate)
        values = update * candidate
        values[:, 0] += (1 - update[:, 0]) * start
        hidden = scan_by_doubling(1 - update, values)
        outputs = hidden.to(products.dtype)
        ctx.save_for_backward(products, outputs, start)
        return outputs, hidden[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of `products` and `start`."""
        products, outputs, start = ctx.saved_tensors
        gate, candidate = products.to(start.dtype).chunk(2, dim=-1)
        update = torch.sigmoid(gate)
        keep = 1 - update
        own = torch.cat(
            [gradient[:, :-1].to(start.dtype), (gradient[:, -1] + later)[:, None]], dim=1
        )
        after = torch.cat([keep[:, 1:], torch.zeros_like(keep[:, :1])], dim=1)
        total = scan_by_doubling(after.flip(1), own.flip(1)).flip(1)
        before = torch.cat([start[:, None], outputs[:, :-1]], dim=1)
        changes = torch.cat([(candidate - before) * update * keep * total, update * total], dim=-1)
        return changes.to(products.dtype), keep[:, 0] * total[:, 0]


def scan_by_doubling(keep: Tensor, values: Tensor) -> Tensor:
    """Return h_t = keep_t * h_{t-1} + values_t for all t, from h = 0.

    Arguments and result are (batch, time, size).
    """
    span, time = 1, values.shape[1]
    while span < time:
        values = torch.cat(
            [values[:, :span], torch.addcmul(values[:, span:], keep[:, span:], values[:, :-span])],
            1,
        )
        keep = torch.cat([keep[:, :span], keep[:, span:] * keep[:, :-span]], dim=1)
        span *= 2
    return values
