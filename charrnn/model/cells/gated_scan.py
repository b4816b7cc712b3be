"""The recurrence that minGRU and minLSTM share, over a whole sequence at once.

h_t = (1 - z_t) * h_{t-1} + z_t * c_t        z_t = sigmoid(g_t): a mean of the old state and the
candidate

Neither g nor c depends on h, so what remains for a time step is one multiplication and one
addition. Both forms of it work in linear space, on factors between 0 and 1: nothing over- or
underflows, however long the sequence.

On a processor a plain loop over time is fastest, a few steps' gates being prepared at once so that
they are still in the cache when their steps are taken. On a GPU, where starting a step costs more
than the step, the span that is summed up doubles instead, from 1 to 2 to 4 steps (Hillis & Steele
1986), for the whole sequence side by side.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 16  # steps whose gates are prepared at once


def gated_scan(products: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return every h of the recurrence, and the last one.

    Args:
        products: g and c side by side, (batch, time, 2 * size).
        start: h before the first step, (batch, size); all is computed in its number format.

    Returns:
        h (batch, time, size) in the format of `products`, and the last h (batch, size) in that of
        `start`.
    """
    form = LoopedScan if products.device.type == "cpu" else ParallelScan
    outputs, last = form.apply(products, start)  # type: ignore[no-untyped-call]
    return outputs, last


class LoopedScan(torch.autograd.Function):
    """One step after the other, and from the end to the beginning for the gradient."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return h (batch, time, size) and the last h."""
        batch, time, size = *products.shape[:2], start.shape[1]
        outputs, hidden, room = (
            products.new_empty(batch, time, size),
            start,
            start.new_empty(3, BLOCK, batch, size),
        )
        for block in blocks(time):
            update, candidate, steps = read_gates(products, block, room)
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
        changes, size, room = (
            torch.empty_like(products),
            start.shape[1],
            start.new_empty(4, BLOCK, *start.shape),
        )
        for block in reversed([*blocks(products.shape[1])]):
            update, candidate, whole, keep = read_gates(products, block, room)
            torch.sub(1, update.sigmoid_(), out=keep)
            whole.copy_(gradient[:, block].transpose(0, 1))
            whole[-1] += later
            for time in reversed(
                range(len(whole) - 1)
            ):  # what reaches h: by its output, and by the h after it
                whole[time].addcmul_(keep[time + 1], whole[time + 1])
            later = keep[0] * whole[0]
            candidate[1:] -= outputs[:, block.start : block.stop - 1].transpose(0, 1)
            candidate[0] -= outputs[:, block.start - 1] if block.start else start
            whole *= update
            changes[:, block, size:] = whole.transpose(0, 1)
            changes[:, block, :size] = candidate.mul_(whole).mul_(keep).transpose(0, 1)
        return changes, later


def blocks(time: int) -> Iterator[slice]:
    """Cut 0 .. time into pieces of `BLOCK` steps, the last one shorter."""
    return (slice(begin, min(begin + BLOCK, time)) for begin in range(0, time, BLOCK))


def read_gates(products: Tensor, block: slice, room: Tensor) -> Tensor:
    """Copy g and c of some steps to the first places of `room`.

    Return as much of it as there are steps.

    `room` is (places, BLOCK, batch, size), and reused for all blocks: fresh memory costs more than
    what is done in it.
    """
    places, size = room[:, : block.stop - block.start], room.shape[-1]
    places[0].copy_(products[:, block, :size].transpose(0, 1))
    places[1].copy_(products[:, block, size:].transpose(0, 1))
    return places


class ParallelScan(torch.autograd.Function):
    """All steps side by side, in as many rounds as the number of steps has binary digits."""

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
        whole = scan_by_doubling(after.flip(1), own.flip(1)).flip(1)
        before = torch.cat([start[:, None], outputs[:, :-1]], dim=1)
        changes = torch.cat([(candidate - before) * update * keep * whole, update * whole], dim=-1)
        return changes.to(products.dtype), keep[:, 0] * whole[:, 0]


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
