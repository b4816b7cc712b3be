"""The recurrences of the rnn and the gru on a processor, for which torch has no fused kernel.

What does not wait for the state is done for all of time at once: the product of the inputs before
the loop, what the gradient multiplies before the loop back, the gradient of the weights after it.
What is left for a step is one matrix product and a few element-wise operations, written into place.

Everything is time-major here, (time, batch, size), so that a step's numbers lie side by side.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ACTIVATIONS = {"tanh": torch.tanh_, "relu": torch.relu_, "sigmoid": torch.sigmoid_}
SLOPES = {
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: (h > 0).to(h.dtype),
    "sigmoid": lambda h: h * (1 - h),
}


def run_rnn(inputs: Tensor, start: Tensor, weight: Tensor, activation: str) -> Tensor:
    """Return every h' = phi(inputs + U h), (time, batch, size).

    Args:
        inputs: W x + b, (time, batch, size). Its number format is that of the products and of the
            result.
        start: h before the first step, (batch, size).
        weight: U, (size, size).
        activation: The name of phi.
    """
    hidden: Tensor = RNNLoop.apply(
        inputs, start.to(inputs.dtype), weight.to(inputs.dtype), activation
    )  # type: ignore[no-untyped-call]
    return hidden


def run_gru(inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return every h' of a GRU, (time, batch, size).

    Args:
        inputs: W x + b for r, z and n, (time, batch, 3 * size). Its number format is that of the
            products and of the result.
        start: h before the first step, (batch, size).
        weight: U for r, z and n, (3 * size, size).
        bias: d for r, z and n, (3 * size,).
    """
    size = start.shape[1]
    bias = bias.to(inputs.dtype)
    # r and z add the two products; n keeps them apart, so its share of the one comes later.
    sums = torch.cat(
        [
            inputs[..., : 2 * size] + bias[: 2 * size],
            bias[2 * size :].expand_as(inputs[..., :size]),
        ],
        dim=-1,
    )
    candidates = inputs[..., 2 * size :]
    hidden: Tensor = GRULoop.apply(
        sums, candidates, start.to(inputs.dtype), weight.to(inputs.dtype)
    )  # type: ignore[no-untyped-call]
    return hidden


class RNNLoop(torch.autograd.Function):
    """h' = phi(x + U h) over time, and back."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, activation: str) -> Tensor:
        """Return h (time, batch, size)."""
        states = torch.cat([start[None], torch.empty_like(inputs)])
        transposed, squash = weight.t(), ACTIVATIONS[activation]
        for x, before, after in zip(
            inputs.unbind(), states[:-1].unbind(), states[1:].unbind(), strict=True
        ):
            squash(torch.addmm(x, before, transposed, out=after))
        ctx.save_for_backward(states, weight)
        ctx.activation = activation
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of the inputs, the start and the weight."""
        states, weight = ctx.saved_tensors
        slopes = SLOPES[ctx.activation](states[1:])
        changes, whole = torch.empty_like(slopes), gradient[-1]
        own = [torch.zeros_like(whole), *gradient[:-1].unbind()]
        for slope, change, earlier in reversed(
            [*zip(slopes.unbind(), changes.unbind(), own, strict=True)]
        ):
            torch.mul(whole, slope, out=change)
            whole = torch.addmm(
                earlier, change, weight
            )  # the gradient of the h before: its own, and through this one
        return changes, whole, changes.flatten(0, 1).t() @ states[:-1].flatten(0, 1), None


class GRULoop(torch.autograd.Function):
    """h' = (1 - z) * n + z * h over time, and back.

    r, z = sigmoid(sums + U h), and n = tanh(candidates + r * (sums + U h)), each with its own part
    of sums and U.
    """

    @staticmethod
    def forward(
        ctx: Any, sums: Tensor, candidates: Tensor, start: Tensor, weight: Tensor
    ) -> Tensor:
        """Return h (time, batch, size)."""
        size, transposed = start.shape[1], weight.t()
        states = torch.cat([start[None], torch.empty_like(candidates)])
        gates, news = torch.empty_like(sums), torch.empty_like(candidates)
        parts = (
            gates,
            gates[..., : 2 * size],
            *torch.split(gates, size, dim=2),
            sums,
            candidates,
            news,
            states[:-1],
            states[1:],
        )
        for gate, both, reset, update, product, total, candidate, new, before, after in zip(
            *(part.unbind() for part in parts), strict=True
        ):
            torch.addmm(total, before, transposed, out=gate)
            both.sigmoid_()
            torch.addcmul(candidate, reset, product, out=new).tanh_()
            torch.lerp(new, before, update, out=after)
        ctx.save_for_backward(gates, news, states, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of the sums, the candidates, the start and the weight."""
        gates, news, states, weight = ctx.saved_tensors
        reset, update, product = gates.split(news.shape[2], dim=2)
        to_new = (1 - update) * (1 - news * news)
        to_update = (states[:-1] - news) * update * (1 - update)
        slopes = torch.stack(
            [to_new * product * reset * (1 - reset), to_update, to_new * reset], dim=2
        )
        changes, wholes = torch.empty_like(slopes), torch.empty_like(gradient)
        wholes[-1], flat = gradient[-1], changes.flatten(2)
        earlier = [torch.empty_like(wholes[0]), *wholes[:-1].unbind()]
        own = [torch.zeros_like(wholes[0]), *gradient[:-1].unbind()]
        parts = [
            part.unbind() for part in (slopes, changes, flat, update, wholes[:, :, None], wholes)
        ]
        for slope, change, product, keep, wide, whole, before, its in reversed(
            [*zip(*parts, earlier, own, strict=True)]
        ):
            torch.mul(slope, wide, out=change)
            kept = torch.addcmul(its, whole, keep)
            torch.addmm(
                kept, product, weight, out=before
            )  # the gradient of the h before: its own, and through this one
        return flat, wholes * to_new, earlier[0], flat.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
