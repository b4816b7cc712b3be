"""One step of training.

Gradients from a batch, shared among ranks and parts, then the weights move.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config.schema import TrainConfig
from charrnn.data.batching import Batch, share
from charrnn.model.cells import State
from charrnn.model.network import CharRNN, detach
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.training.optimizer import Optimizer


@dataclass(frozen=True)
class Step:
    """What one step measured and carries on.

    Attributes:
        loss: Nats per token of the batch.
        grad_norm: Norm of the whole gradient before clipping.
        carried: The state for the next batch, detached.
    """

    loss: float
    grad_norm: float
    carried: State

    @property
    def finite(self) -> bool:
        """Loss and gradient are finite, so the weights have moved."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def train_step(
    learner: "Learner",
    optimizer: Optimizer,
    batch: Batch,
    state: State | None,
    config: TrainConfig,
    *,
    lr: float,
    autocast: AbstractContextManager[Any],
    loss_scale: float = 1.0,
) -> Step:
    """Move the weights once: forward, loss, backward, clip, step.

    A gradient that is not finite moves nothing.

    Args:
        learner: Holds the model, in training mode.
        optimizer: The one that moves its weights.
        batch: What to learn from: the whole batch, of which the learner takes its share.
        state: The model's state before this rank's share of the batch; None is zeros.
        config: How to clip.
        lr: Learning rate of this step.
        autocast: The context of the number format.
        loss_scale: Factor on the loss while gradients are computed, against underflow in fp16.
    """
    loss, carried = learner.differentiate(batch, state, autocast=autocast, loss_scale=loss_scale)
    norm = clip_gradients(learner.model, config, loss_scale)
    step = Step(loss, norm.item(), carried)
    if step.finite:
        optimizer.step(lr)
    optimizer.clear()
    return step


class Learner:
    """Computes a model's gradients from this rank's share of each batch, and sums them over all ranks.

    The gradients, and so the weights, are the same on each rank, and those of one process with the
    whole batch.

    Args:
        model: On its device.
        ranks: Among whom a batch's rows are shared.
        parts: Into which a share is cut, to be computed one after the other: a part's activations
            are in memory at a time, and the ranks talk after the last.
    """

    def __init__(self, model: CharRNN, ranks: Ranks = ALONE, parts: int = 1) -> None:
        self.model, self.ranks, self.parts = model, ranks, parts
        self.module: nn.Module = BatchLoss(model)
        if ranks.size > 1:
            self.module = nn.parallel.DistributedDataParallel(
                self.module, gradient_as_bucket_view=True
            )

    def differentiate(
        self,
        batch: Batch,
        state: State | None,
        *,
        autocast: AbstractContextManager[Any],
        loss_scale: float = 1.0,
    ) -> tuple[float, State]:
        """Leave the gradients in the parameters.

        Return the batch's nats per token and this rank's carried state.
        """
        own = batch.share(self.ranks.rank, self.ranks.size)
        rows, tokens = len(own.inputs), batch.tokens
        parts = min(self.parts, rows)
        # DistributedDataParallel takes the mean over the ranks, where the sum is wanted
        factor = loss_scale * self.ranks.size / tokens
        losses, carried = [], list[State]()
        for number in range(parts):
            chosen = share(rows, number, parts)
            before = None if state is None else tuple(tensor[chosen] for tensor in state)
            with self._talking_only_if(number == parts - 1):
                with autocast:
                    loss, after = self.module(own.rows(chosen).to(self.model.device), before)
                (loss * factor).backward()
            losses.append(loss.detach())
            carried.append(after)
        (total,) = self.ranks.total(torch.stack(losses).sum().item())
        return total / tokens, join(carried)

    def _talking_only_if(self, last: bool) -> AbstractContextManager[Any]:
        """Let gradients be summed over the ranks in the last part's backward pass, for all parts at once."""
        if isinstance(self.module, nn.parallel.DistributedDataParallel):
            return self.ranks.talking() if last else self.module.no_sync()
        return nullcontext()


class BatchLoss(nn.Module):
    """A model and its loss as one module: all that a backward pass goes through."""

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Return the summed nats of the batch's targets, and the state for the next batch, detached."""
        values, carried = self.model.hidden(batch.inputs[:, : batch.carry_at], state)
        if (
            batch.carry_at < batch.inputs.shape[1]
        ):  # this window goes on beyond the place where the next one begins
            rest, _ = self.model.hidden(batch.inputs[:, batch.carry_at :], carried)
            values = torch.cat([values, rest], dim=1)
        scored = slice(batch.scored_from, None)
        return self.model.loss(values[:, scored], batch.targets[:, scored]), detach(carried)


def join(states: list[State]) -> State:
    """Put the states of successive rows together."""
    return (
        states[0]
        if len(states) == 1
        else tuple(torch.cat(tensors) for tensors in zip(*states, strict=True))
    )


def clip_gradients(model: CharRNN, config: TrainConfig, loss_scale: float) -> Tensor:
    """Undo the loss's scale, clip by norm and by value as `config` says, and return the norm before clipping."""
    parameters = list(model.parameters())
    if loss_scale != 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(loss_scale)
    norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm or math.inf)
    if config.clip_value:
        nn.utils.clip_grad_value_(parameters, config.clip_value)
    return norm
