"""Training: one step as a function, and a Trainer that holds exactly the state that a resume needs.

`Trainer.run()` yields what happens (`Trained`, `Evaluated`); a terminal paints it, a notebook plots it, a test
reads it. Nothing here prints, and nothing here knows about files.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.batching import Batch, make_batcher
from charrnn.cells import State
from charrnn.config import TrainConfig
from charrnn.corpus import Encoded
from charrnn.errors import DivergedError
from charrnn.machine import autocast
from charrnn.model import CharRNN, detach
from charrnn.optim import Optimizer, learning_rate
from charrnn.scoring import Score, ScoringProtocol, evaluate
from charrnn.tokenizers import Tokenizer


@dataclass(frozen=True)
class Trained:
    """A step was taken.

    Attributes:
        step: Steps taken so far.
        loss: Nats per token of this step's batch, with dropout.
        lr: Learning rate of this step.
        grad_norm: Norm of the gradient before clipping.
        tokens: Tokens seen so far in the whole run.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int


@dataclass(frozen=True)
class Evaluated:
    """The validation text was scored; `best` if no earlier score was better."""

    step: int
    score: Score
    best: bool


Event = Trained | Evaluated


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


@dataclass
class Progress:
    """Where a run is: with the weights, the optimizer, the batcher and the generators, all that a resume needs."""

    step: int = 0
    tokens: int = 0
    best_nats: float = math.inf
    best_step: int = 0
    evaluated_step: int = 0
    evaluations_since_best: int = 0
    loss_scale: float = 1.0
    quiet_steps: int = 0


class Trainer:
    """Trains a model on one text and validates it on another.

    Args:
        model: On its device; its weights are moved in place.
        tokenizer: The one that made the ids.
        train: The text to learn from.
        valid: The text to be measured on.
        config: How.
        precision: `fp32`, `bf16` or `fp16`: what `config.precision` came to on this device.
    """

    def __init__(
        self, model: CharRNN, tokenizer: Tokenizer, train: Encoded, valid: Encoded, config: TrainConfig, precision: str
    ) -> None:
        self.model, self.tokenizer, self.valid, self.config, self.precision = model, tokenizer, valid, config, precision
        self.batcher = make_batcher(train.ids, config, model.start, train.starts)
        self.optimizer = Optimizer(model, config, precision)
        self.carried: State | None = None
        self.progress = Progress(loss_scale=2.0**15 if precision == "fp16" else 1.0)
        torch.manual_seed(config.seed)  # dropout draws from torch's global generator; it can draw from no other

    def run(self) -> Iterator[Event]:
        """Train until the steps are done or patience ends, yielding what happens.

        Between two events, `state()` is what a resume needs to go on with the second.

        Raises:
            DivergedError: The loss or the gradient is no longer finite; the weights are those of the step before.
        """
        while True:
            if self.evaluation_due:
                yield self.evaluate()
            if self.finished:
                return
            yield self.train_once()

    @property
    def evaluation_due(self) -> bool:
        """The step just taken is one to evaluate after, and has not been evaluated yet."""
        step = self.progress.step
        wanted = step == self.config.steps or step % self.config.eval_every == 0
        return wanted and step > self.progress.evaluated_step

    @property
    def finished(self) -> bool:
        """All steps are taken, or patience has ended."""
        out_of_patience = self.config.patience is not None and (
            self.progress.evaluations_since_best >= self.config.patience
        )
        return self.progress.step >= self.config.steps or out_of_patience

    def train_once(self) -> Trained:
        """Take one step."""
        config, progress = self.config, self.progress
        batch = self.batcher.next_batch()
        lr = learning_rate(progress.step, config)
        state = None if batch.starts_stream else self.carried
        step = train_step(
            self.model,
            self.optimizer,
            batch,
            state,
            config,
            lr=lr,
            autocast=self.autocast(),
            loss_scale=progress.loss_scale,
        )
        self._check(step)
        self.carried = step.carried
        progress.step += 1
        progress.tokens += batch.tokens
        return Trained(progress.step, step.loss, lr, step.grad_norm, progress.tokens)

    def _check(self, step: Step) -> None:
        """Raise unless the step was finite; fp16 halves the loss's scale instead, and doubles it after a while."""
        progress = self.progress
        if step.finite:
            progress.quiet_steps += 1
            if self.precision == "fp16" and progress.quiet_steps % 1000 == 0:
                progress.loss_scale *= 2
        elif math.isfinite(step.loss) and progress.loss_scale > 1:
            progress.loss_scale, progress.quiet_steps = progress.loss_scale / 2, 0
        else:
            what = f"loss became {step.loss}" if not math.isfinite(step.loss) else "gradient is no longer finite"
            raise DivergedError(f"Training diverged: the {what} at step {progress.step + 1}.")

    def evaluate(self) -> Evaluated:
        """Score the validation text; training goes on as if nothing had happened."""
        score = evaluate(self.model, self.tokenizer, self.valid, ScoringProtocol.of(self.valid), autocast=self.autocast)
        if not math.isfinite(score.nats):
            raise DivergedError(f"Training diverged: validation scored {score.nats} nats at step {self.progress.step}.")
        progress, nats = self.progress, score.nats_per_token
        best = nats < progress.best_nats
        progress.evaluated_step = progress.step
        if best:
            progress.best_nats, progress.best_step, progress.evaluations_since_best = nats, progress.step, 0
        else:
            progress.evaluations_since_best += 1
        return Evaluated(progress.step, score, best)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the run's number format."""
        return autocast(self.precision, self.model.device)

    def state(self) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
        """Return everything that the next step depends on: arrays, and plain values."""
        tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        # A half-precision state is exact in float32, and becomes the same half-precision numbers in the next step.
        tensors |= {f"carried.{index}": tensor.float() for index, tensor in enumerate(self.carried or ())}
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.model.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.model.device)
        best = self.progress.best_nats
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        values = {
            "progress": vars(self.progress) | {"best_nats": best if math.isfinite(best) else None},
            "batcher": self.batcher.position(),
        }
        return arrays, values

    def restore(self, arrays: dict[str, np.ndarray[Any, Any]], values: dict[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            ValueError: It is the state of another model, optimizer, batcher or version; so are some errors of torch.
        """
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.model.load_state_dict(_under("model.", tensors))
        self.optimizer.restore(_under("optimizer.", tensors))
        carried = _under("carried.", tensors)  # in no order: the names hold it
        self.carried = tuple(carried[str(index)].to(self.model.device) for index in range(len(carried))) or None
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.model.device)
        best = values["progress"]["best_nats"]
        self.progress = Progress(**values["progress"] | {"best_nats": math.inf if best is None else best})
        self.batcher.restore(values["batcher"])
        kinds = {name: type(value) for name, value in vars(Progress()).items()}
        if any(type(value) is not kinds[name] or not value >= 0 for name, value in vars(self.progress).items()):
            raise ValueError("A run's progress is told by numbers that are not negative.")
        shapes = [tensor.shape for tensor in self.model.initial_state(self.batcher.batch_size)]
        if self.carried is not None and [tensor.shape for tensor in self.carried] != shapes:
            raise ValueError("The carried state does not fit the model.")


def train_step(
    model: CharRNN,
    optimizer: Optimizer,
    batch: Batch,
    state: State | None,
    config: TrainConfig,
    *,
    lr: float,
    autocast: AbstractContextManager[Any],
    loss_scale: float = 1.0,
) -> Step:
    """Move the weights once: forward, loss, backward, clip, step. A gradient that is not finite moves nothing.

    Args:
        model: In training mode.
        optimizer: The one that moves its weights.
        batch: What to learn from.
        state: The model's state before the batch; None is zeros.
        config: How to clip.
        lr: Learning rate of this step.
        autocast: The context of the number format.
        loss_scale: Factor on the loss while gradients are computed, against underflow in fp16.
    """
    inputs, targets = batch.inputs.to(model.device), batch.targets.to(model.device)
    with autocast:
        values, carried = model.hidden(inputs[:, : batch.carry_at], state)
        if batch.carry_at < inputs.shape[1]:  # this window goes on beyond the place where the next one begins
            rest, _ = model.hidden(inputs[:, batch.carry_at :], carried)
            values = torch.cat([values, rest], dim=1)
        loss = model.loss(values[:, batch.scored_from :], targets[:, batch.scored_from :])
    (loss * loss_scale).backward()  # type: ignore[no-untyped-call]
    norm = clip_gradients(model, config, loss_scale)
    step = Step(loss.item(), norm.item(), detach(carried))
    if step.finite:
        optimizer.step(lr)
    optimizer.clear()
    return step


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


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
