"""The recurrences of the rnn and gru cells on a CPU, for which torch has no fused kernel.

What does not depend on the state is computed for all time steps at once: the input products before
the forward loop, the factors of the gradient before the backward loop, and the gradient of the
weights after it. Each step is left with one matrix product and a few element-wise operations, in
place.

All arrays are time-major, (time, batch, size), so that a step's numbers are contiguous.
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
        inputs: W x + b, (time, batch, size); everything is computed in its number format.
        start: h before the first step, (batch, size).
        weight: U, (size, size).
        activation: The name of phi.
    """
    same = inputs.dtype
    hidden: Tensor = RNNLoop.apply(  # type: ignore[no-untyped-call]
        inputs, start.to(same), weight.to(same), activation
    )
    return hidden


def run_gru(inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return every h' of a GRU, (time, batch, size).

    Args:
        inputs: W x + b for r, z and n, (time, batch, 3 * size); everything is computed in its
            number format.
        start: h before the first step, (batch, size).
        weight: U for r, z and n, (3 * size, size).
        bias: d for r, z and n, (3 * size,).
    """
    same, two = inputs.dtype, 2 * start.shape[1]
    bias = bias.to(same)
    candidates = inputs[..., two:]
    # r and z add the two products; n needs them apart, so its sums have the bias alone.
    sums = torch.cat([inputs[..., :two] + bias[:two], bias[two:].expand_as(candidates)], dim=-1)
    hidden: Tensor = GRULoop.apply(  # type: ignore[no-untyped-call]
        sums, candidates, start.to(same), weight.to(same)
    )
    return hidden


class RNNLoop(torch.autograd.Function):
    """h' = phi(x + U h) over time, and its gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, activation: str) -> Tensor:
        """Return h (time, batch, size)."""
        states = torch.cat([start[None], torch.empty_like(inputs)])
        transposed, activate = weight.t(), ACTIVATIONS[activation]
        steps = zip(inputs.unbind(), states[:-1].unbind(), states[1:].unbind(), strict=True)
        for x, before, after in steps:
            activate(torch.addmm(x, before, transposed, out=after))
        ctx.save_for_backward(states, weight)
        ctx.activation = activation
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of `inputs`, `start` and `weight`."""
        states, weight = ctx.saved_tensors
        slopes = SLOPES[ctx.activation](states[1:])
        changes = torch.empty_like(slopes)  # of the sums x + U h
        reached = gradient[-1]  # gradient of h': from its output and from later steps
        own = [torch.zeros_like(reached), *gradient[:-1].unbind()]
        steps = [*zip(slopes.unbind(), changes.unbind(), own, strict=True)]
        for slope, change, own_before in reversed(steps):
            torch.mul(reached, slope, out=change)
            reached = torch.addmm(own_before, change, weight)
        return changes, reached, changes.flatten(0, 1).t() @ states[:-1].flatten(0, 1), None


class GRULoop(torch.autograd.Function):
    """h' = (1 - z) * n + z * h over time, and its gradient.

    r, z = sigmoid(sums + U h) and n = tanh(candidates + r * (sums + U h)), each with its own part
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
        both = gates[..., : 2 * size]  # r and z
        parts = (sums, gates, both, *torch.split(gates, size, dim=2), candidates, news)
        columns = (part.unbind() for part in (*parts, states[:-1], states[1:]))
        for total, all_gates, r_and_z, r, z, product, candidate, new, before, after in zip(
            *columns, strict=True
        ):
            torch.addmm(total, before, transposed, out=all_gates)
            r_and_z.sigmoid_()
            torch.addcmul(candidate, r, product, out=new).tanh_()
            torch.lerp(new, before, z, out=after)
        ctx.save_for_backward(gates, news, states, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of `sums`, `candidates`, `start` and `weight`."""
        gates, news, states, weight = ctx.saved_tensors
        r, z, product = gates.split(news.shape[2], dim=2)
        # Factors of the gradient of h' on its way to the tanh of n, and to each sum.
        to_new = (1 - z) * (1 - news * news)
        to_update = (states[:-1] - news) * z * (1 - z)
        slopes = torch.stack([to_new * product * r * (1 - r), to_update, to_new * r], dim=2)
        changes = torch.empty_like(slopes)  # of the sums, (time, batch, 3, size)
        flat = changes.flatten(2)
        # Gradients of each h', from its output and from later steps. A step of the loop completes
        # that of the step before, or of the start.
        reached, start_reached = torch.empty_like(gradient), torch.empty_like(gradient[0])
        reached[-1] = gradient[-1]
        own_before = [torch.zeros_like(start_reached), *gradient[:-1].unbind()]
        reached_before = [start_reached, *reached[:-1].unbind()]
        parts = (part.unbind() for part in (slopes, changes, flat, z, reached))
        for slope, change, flat_change, keep, whole, own, before in reversed(
            [*zip(*parts, own_before, reached_before, strict=True)]
        ):
            torch.mul(slope, whole[:, None], out=change)
            torch.addmm(torch.addcmul(own, whole, keep), flat_change, weight, out=before)
        to_weight = flat.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        return flat, reached * to_new, start_reached, to_weight
