"""A Trainer takes the steps, evaluates, and holds exactly the state that a resume needs.

Nothing here prints, and nothing here knows about files.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from charrnn.config.schema import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.base import shard
from charrnn.data.encoding import EncodedSplit
from charrnn.errors import DivergedError, UsageError
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN
from charrnn.runtime.device import autocast
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.events import Evaluated, Trained
from charrnn.training.optimizer import Optimizer
from charrnn.training.progress import Progress
from charrnn.training.schedule import learning_rate
from charrnn.training.step import GradientComputer, StepResult, join_rows, train_step

Arrays = dict[str, np.ndarray[Any, Any]]
Facts = dict[str, Any]

INITIAL_SCALE, SCALE_GROWTH_STEPS = 2.0**15, 1000  # of the loss, in fp16


class Trainer:
    """Trains a model on one part of a text and validates it on the other.

    Args:
        model: On its device; its weights are moved in place.
        data: The text.
        config: How.
        precision: `fp32`, `bf16` or `fp16`: what `config.precision` came to on this device.
        group: The processes that train together; each makes a trainer of the same arguments.

    Raises:
        UsageError: The batches cannot be sharded evenly.
    """

    def __init__(
        self,
        model: CharRNN,
        data: EncodedSplit,
        config: TrainConfig,
        precision: str,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.model, self.data, self.config, self.precision = model, data, config, precision
        self.group = group
        self.batcher = make_batcher(data.train.ids, config, model.start, data.train.starts)
        if data.train.starts is None:  # batches of records have rows as they come
            check_shards(self.batcher.batch_size, config, group)
        self.scaler = GradScaler(
            model.device.type,
            init_scale=INITIAL_SCALE,
            growth_interval=SCALE_GROWTH_STEPS,
            enabled=precision == "fp16",
        )
        self.gradients = GradientComputer(
            model, self.scaler, self.autocast, group, config.accumulate
        )
        self.optimizer = Optimizer(model, config, precision)
        self.carried: State | None = None
        self.progress = Progress()
        seed_dropout(config.seed, group.rank)

    def run(self) -> Iterator[Trained | Evaluated]:
        """Train until the steps are done or patience ends, yielding what happens.

        Between two events, `state()` is what a resume needs to go on with the second.

        Raises:
            DivergedError: The loss or the gradient is no longer finite; the weights are those of
                the step before.
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
        patience, waited = self.config.patience, self.progress.evaluations_since_best
        out_of_patience = patience is not None and waited >= patience
        return self.progress.step >= self.config.steps or out_of_patience

    def train_once(self) -> Trained:
        """Take one step."""
        progress = self.progress
        batch = self.batcher.next_batch()
        lr = learning_rate(progress.step, self.config)
        state = None if batch.starts_stream else self.carried
        result = train_step(self.gradients, self.optimizer, batch, state, self.config, lr)
        self._check(result)
        self.carried = result.carried
        progress.step += 1
        progress.tokens += batch.tokens
        return Trained(progress.step, result.loss, lr, result.grad_norm, progress.tokens)

    def _check(self, result: StepResult) -> None:
        """Raise unless the step was finite; in fp16 a gradient may overflow until the scale fits."""
        if result.finite:
            return
        overflowed = math.isfinite(result.loss) and self.scaler.is_enabled()
        if overflowed and self.scaler.get_scale() >= 1:
            return
        loss_is_finite = math.isfinite(result.loss)
        what = "gradient is no longer finite" if loss_is_finite else f"loss became {result.loss}"
        raise DivergedError(f"Training diverged: the {what} at step {self.progress.step + 1}.")

    def reschedule(self, steps: int, dropout: float) -> None:
        """Go on with another number of steps and another dropout probability.

        The learning rate is then as if the run had always had them.
        """
        self.config = replace(self.config, steps=steps)
        self.model.set_dropout(dropout)

    def evaluate(self) -> Evaluated:
        """Score the validation text; training goes on as if nothing had happened."""
        valid, step = self.data.valid, self.progress.step
        score = evaluate(
            self.model,
            self.data.tokenizer,
            valid,
            ScoringProtocol.of(valid),
            autocast=self.autocast,
            group=self.group,
        )
        if not math.isfinite(score.nats):
            raise DivergedError(
                f"Training diverged: validation scored {score.nats} nats at step {step}."
            )
        progress, nats = self.progress, score.nats_per_token
        best = nats < progress.best_nats
        progress.evaluated_step = step
        progress.evaluations_since_best += 1
        if best:
            progress.best_nats, progress.best_step = nats, step
            progress.evaluations_since_best = 0
        return Evaluated(step, score, best)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the run's number format."""
        return autocast(self.precision, self.model.device)

    def state(self) -> tuple[Arrays, Facts]:
        """Return everything that the next step depends on: arrays, and JSON values.

        All processes are asked at once.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        facts = {
            "progress": self.progress.to_dict(),
            "scaler": self.scaler.state_dict(),
            "batcher": self.batcher.position(),
        }
        return arrays | self._carried_arrays() | self._generator_arrays(), facts

    def _carried_arrays(self) -> Arrays:
        """Return the state of all rows of the batch, this process's and the others'."""
        if self.carried is None:
            return {}
        own = shard(self.batcher.batch_size, self.group.rank, self.group.size)
        # A half-precision state is exact in float32, and becomes the same numbers in the next step.
        rows = tuple(tensor[: own.stop - own.start].float().cpu() for tensor in self.carried)
        joined = join_rows(self.group.all_gather(rows))
        return {f"carried.{index}": tensor.numpy() for index, tensor in enumerate(joined)}

    def _generator_arrays(self) -> Arrays:
        """Return each process's random generators."""
        found = {"rng.cpu": torch.get_rng_state().numpy()}
        if self.model.device.type == "cuda":
            found["rng.cuda"] = torch.cuda.get_rng_state(self.model.device).numpy()
        return {
            of_rank(name, rank): value
            for rank, generators in enumerate(self.group.all_gather(found))
            for name, value in generators.items()
        }

    def restore(self, arrays: Arrays, facts: Facts) -> None:
        """Go back to what `state` returned.

        With another number of processes the rows are sharded again, and a process that is new draws
        other dropout.

        Raises:
            ValueError: It is the state of another model, optimizer, batcher or version; so are some
                errors of torch.
        """
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.model.load_state_dict(_under("model.", tensors))
        self.optimizer.restore(_under("optimizer.", tensors))
        self._restore_generators(tensors)
        self.progress = Progress.from_dict(facts["progress"])
        if self.scaler.is_enabled() and "scaler" in facts:
            self.scaler.load_state_dict(facts["scaler"])
        self.batcher.restore(facts["batcher"])
        self._restore_carried(_under("carried.", tensors))

    def _restore_generators(self, tensors: dict[str, Tensor]) -> None:
        own = of_rank("rng.cpu", self.group.rank)
        if own in tensors or self.group.is_main:  # only a process that is new may have none
            torch.set_rng_state(tensors[own])
        own = of_rank("rng.cuda", self.group.rank)
        if own in tensors and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[own], self.model.device)

    def _restore_carried(self, tensors: dict[str, Tensor]) -> None:
        """Take this process's rows of the whole batch's state; none is that before the first step."""
        names = [str(index) for index in range(len(tensors))]  # they are in no order
        carried = tuple(tensors[name].to(self.model.device) for name in names)
        rows = self.batcher.batch_size
        shapes = [tensor.shape for tensor in self.model.initial_state(rows)]
        if carried and [tensor.shape for tensor in carried] != shapes:
            raise ValueError("The carried state does not fit the model.")
        own = shard(rows, self.group.rank, self.group.size)
        own = own if own.start < own.stop else slice(1)  # of a row without targets, any will do
        self.carried = tuple(tensor[own] for tensor in carried) or None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = (name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in found}


def of_rank(name: str, rank: int) -> str:
    """Return what a process's part of the state is called; the first one's has no number."""
    return f"{name}.{rank}" if rank else name


def seed_dropout(seed: int, rank: int) -> None:
    """Seed torch's global generator, which only dropout draws from, differently in each process."""
    if rank:
        seed = int(np.random.SeedSequence((seed, rank)).generate_state(1)[0])
    torch.manual_seed(seed)


def check_shards(rows: int, config: TrainConfig, group: ProcessGroup) -> None:
    """Raise `UsageError` unless a batch of so many rows can be sharded evenly."""
    parts = group.size * config.accumulate
    if rows % parts == 0:
        return
    own = rows == config.batch_size
    what = f"`batch_size` {rows}" if own else f"The number of the text's streams, {rows},"
    factors = [f"{group.size} ranks"] * (group.size > 1)
    factors += [f"{config.accumulate} accumulation steps"] * (config.accumulate > 1)
    near = max(parts, rows - rows % parts)
    raise UsageError(
        f"{what} is not divisible by {' times '.join(factors)}.", f"Try `batch_size` {near}."
    )
