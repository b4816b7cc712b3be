"""One training step: compute the gradients of a batch, sharded among processes, and update."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch, shard
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN, detach
from charrnn.model.shapes import TABLES
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.optimizer import Optimizer
from charrnn.training.teacher import Teacher, distillation_loss


@dataclass(frozen=True)
class Objective:
    """What is minimised, besides the cross entropy to the text as it is.

    Attributes:
        label_smoothing: The share of each target's probability that is spread over all symbols.
        teacher: What the model learns from besides the text, if anything.
    """

    label_smoothing: float = 0.0
    teacher: Teacher | None = None


@dataclass(frozen=True)
class StepResult:
    """The result of one step.

    Attributes:
        loss: What is minimised, in nats per token of the batch.
        grad_norm: Norm of the whole gradient before clipping.
        carried: The state for the next batch, detached.
    """

    loss: float
    grad_norm: float
    carried: State

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are finite, so that the weights were updated."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def train_step(
    gradients: "GradientComputer",
    optimizer: Optimizer,
    batch: Batch,
    state: State | None,
    config: TrainConfig,
    lr: float,
) -> StepResult:
    """Update the weights once: forward, loss, backward, clip, step.

    If the gradient is not finite, the weights stay as they are.

    Args:
        gradients: Computes the gradients of its model, which is in training mode.
        optimizer: Updates the model's weights.
        batch: The whole batch, of which `gradients` takes this process's shard.
        state: The model's state before the shard, and its teacher's; None is zeros.
        config: How to clip gradients.
        lr: Learning rate of this step.
    """
    loss, carried = gradients.backward(batch, state)
    gradients.scaler.unscale_(optimizer)  # type: ignore[arg-type]
    norm = clip_gradients(gradients.model, config)
    result = StepResult(loss, norm.item(), carried)
    if result.finite:
        gradients.scaler.step(optimizer, lr)  # type: ignore[arg-type]
    gradients.scaler.update()
    optimizer.zero_grad()
    return result


class GradientComputer:
    """Computes a model's gradients from shards of each batch, summed over all processes.

    The gradients, and so the weights, are the same in each process, and the same as those of one
    process with the whole batch.

    Args:
        model: The model, on its device.
        scaler: Scales the loss to avoid underflow in fp16; disabled in other formats.
        autocast: Returns the context for the number format.
        group: The processes among which a batch's rows are sharded.
        accumulation_steps: Parts of a shard that are computed one after the other, to save memory.
            Gradients are synchronised once, after the last part.
        objective: What is minimised.
    """

    def __init__(
        self,
        model: CharRNN,
        scaler: GradScaler,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        group: ProcessGroup = ALONE,
        accumulation_steps: int = 1,
        objective: Objective = Objective(),
    ) -> None:
        self.model, self.scaler, self.autocast = model, scaler, autocast
        self.group, self.accumulation_steps = group, accumulation_steps
        self.module: nn.Module = BatchLoss(model, objective)
        if group.size > 1:
            # It would send whole tables; `_gather_rows` sends the rows that have a gradient.
            parallel = nn.parallel.DistributedDataParallel
            parallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
                self.module, [f"model.{TABLES}"]
            )
            self.module = parallel(self.module, gradient_as_bucket_view=True)

    def backward(self, batch: Batch, state: State | None) -> tuple[float, State]:
        """Compute the gradients of a batch and leave them in the model's parameters.

        Returns:
            The batch's loss in nats per token, and this process's carried state.
        """
        own = batch.shard(self.group.rank, self.group.size)
        rows, tokens = len(own.inputs), batch.tokens
        parts = min(self.accumulation_steps, rows)
        # DistributedDataParallel averages over the processes, but the sum is wanted.
        factor = self.group.size / tokens
        losses, carried = [], list[State]()
        for number in range(parts):
            chosen = shard(rows, number, parts)
            before = None if state is None else tuple(tensor[chosen] for tensor in state)
            with self._synchronised_if(number == parts - 1):
                with self.autocast():
                    loss, after = self.module(own.rows(chosen).to(self.model.device), before)
                self.scaler.scale(loss * factor).backward()
            losses.append(loss.detach())
            carried.append(after)
        for table in self.model.tables():
            _gather_rows(table, self.group)
        (total,) = self.group.sum(torch.stack(losses).sum().item())
        return total / tokens, join_rows(carried)

    def _synchronised_if(self, last: bool) -> AbstractContextManager[Any]:
        """Return the context for a part: gradients are synchronised in the last part only."""
        if isinstance(self.module, nn.parallel.DistributedDataParallel):
            return self.group.communication_errors() if last else self.module.no_sync()
        return nullcontext()


class BatchLoss(nn.Module):
    """A model and its loss as one module, as DistributedDataParallel needs it.

    The teacher, whose weights stay as they are, is not a part of the module.
    """

    def __init__(self, model: CharRNN, objective: Objective) -> None:
        super().__init__()
        self.model, self.teacher = model, objective.teacher
        self.label_smoothing = objective.label_smoothing

    def forward(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Return the summed loss of the batch's targets, and the detached state to carry over.

        Records with sources are never cut, so that they have no state to carry over.

        Args:
            batch: The batch.
            state: The model's state, followed by the teacher's; None at the start of a text.
        """
        if batch.source is not None:
            values, _ = self.model.hidden(batch.inputs, self.model.begin(*batch.source))
            before = None if self.teacher is None else self.teacher.begin(*batch.source)
            return self._loss(values, batch, before)[0], ()
        own = self.model.state_size
        values, carried = _run_over(self.model.hidden, batch, state and state[:own])
        loss, after = self._loss(values, batch, state and state[own:])
        return loss, (*detach(carried), *after)

    def _loss(self, values: Tensor, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Return the summed loss, and the teacher's state after the batch.

        Args:
            values: The output layer's input for each target.
            batch: The batch.
            state: The state of the teacher before it, if there is one.
        """
        targets, smoothing = batch.targets[:, batch.scored_from :], self.label_smoothing
        if self.teacher is None:
            return self.model.loss(values, targets, smoothing), ()
        wanted, after = _run_over(self.teacher.probabilities, batch, state)
        found, weight = self.model.log_probs(values), self.teacher.weight
        return distillation_loss(found, targets, wanted, weight, smoothing), after


def _run_over(
    predict: Callable[[Tensor, State | None], tuple[Tensor, State]],
    batch: Batch,
    state: State | None,
) -> tuple[Tensor, State]:
    """Return what `predict` gives for the scored part of a batch, and the state to carry over."""
    values, carried = predict(batch.inputs[:, : batch.carry_at], state)
    if batch.carry_at < batch.inputs.shape[1]:  # the next window begins inside this one
        rest, _ = predict(batch.inputs[:, batch.carry_at :], carried)
        values = torch.cat([values, rest], dim=1)
    return values[:, batch.scored_from :], carried


def _gather_rows(table: Tensor, group: ProcessGroup) -> None:
    """Sum the sparse gradients of all processes, as the mean of them scaled by their number is."""
    assert table.grad is not None
    own = table.grad.coalesce()
    if group.size > 1:
        found = group.all_gather((own.indices().cpu(), own.values().cpu()))
        rows = torch.cat([rows for rows, _ in found], dim=1)
        values = torch.cat([values for _, values in found]) / group.size
        own = torch.sparse_coo_tensor(rows, values, table.shape, check_invariants=False)
        own = own.coalesce()
    table.grad = own.to(table.device)


def join_rows(states: list[State]) -> State:
    """Concatenate the states of successive rows."""
    if len(states) == 1:
        return states[0]
    return tuple(torch.cat(tensors) for tensors in zip(*states, strict=True))


def clip_gradients(model: CharRNN, config: TrainConfig) -> Tensor:
    """Clip by norm and by value as `config` says, and return the norm before clipping."""
    found = (parameter.grad for parameter in model.parameters() if parameter.grad is not None)
    gradients = [one.values() if one.is_sparse else one for one in found]
    norm = nn.utils.get_total_norm(gradients)
    if config.clip_norm:
        scale = (config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
    if config.clip_value:
        for gradient in gradients:
            gradient.clamp_(-config.clip_value, config.clip_value)
    return norm
