"""The trainer takes the steps, evaluates, and holds exactly the state that a resume needs.

It neither prints nor reads or writes files.
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

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.base import shard
from charrnn.data.encoding import EncodedSplit
from charrnn.data.subset import spread
from charrnn.errors import DivergedError
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN
from charrnn.runtime.device import autocast
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.events import Evaluated, Trained
from charrnn.training.optimizer import Optimizer
from charrnn.training.progress import Progress
from charrnn.training.schedule import Stage, learning_rate
from charrnn.training.sharding import check_shards, rank_key, seed_dropout
from charrnn.training.step import GradientComputer, Objective, StepResult, join_rows, train_step
from charrnn.training.teacher import Teacher
from charrnn.training.validation import ShouldStop, score_unless_stopped

Arrays = dict[str, np.ndarray[Any, Any]]
Facts = dict[str, Any]

INITIAL_SCALE, SCALE_GROWTH_STEPS = 2.0**15, 1000  # of the loss, in fp16


class Trainer:
    """Trains a model on one part of a text and validates it on the other.

    Args:
        model: The model, on its device; its weights are updated in place.
        data: The text.
        config: How to train.
        precision: `fp32`, `bf16` or `fp16`, as `config.precision` selects on this device.
        group: The processes that train together; each has a trainer with the same arguments.

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
        self.valid = data.valid
        if config.valid_tokens is not None:
            self.valid = spread(data.valid, config.valid_tokens)
        self.batcher = make_batcher(
            data.train.ids, config, model.start, data.train.starts, data.train.sources
        )
        if data.train.starts is None:  # batches of records vary in size, and need not be even
            check_shards(self.batcher.batch_size, config, group)
        self.scaler = GradScaler(
            model.device.type,
            init_scale=INITIAL_SCALE,
            growth_interval=SCALE_GROWTH_STEPS,
            enabled=precision == "fp16",
        )
        self.teacher = None
        if data.teacher is not None:
            self.teacher = Teacher.of(data.teacher, config.teacher_weight, model.device)
        objective = Objective(config.label_smoothing, self.teacher)
        self.gradients = GradientComputer(
            model, self.scaler, self.autocast, group, config.accumulate, objective
        )
        self.optimizer = Optimizer(model, config, precision)
        self.carried: State | None = None
        self.progress = Progress()
        self.stage = Stage.whole(config)
        seed_dropout(config.seed, group.rank)

    def run(self, should_stop: ShouldStop = lambda: None) -> Iterator[Trained | Evaluated]:
        """Train until all steps are taken or patience runs out, and yield events.

        A resume from the `state()` between two events continues with the second.

        Args:
            should_stop: Called during an evaluation. If it returns a signal's number in one
                process, the evaluation is given up in all, remains due, and is the last that runs.

        Raises:
            DivergedError: Loss or gradient are no longer finite; the weights are those before the
                step.
        """
        while True:
            if self.evaluation_due:
                evaluated = self.evaluate(should_stop)
                if evaluated is None:
                    return
                yield evaluated
            if self.finished:
                return
            yield self.train_once()

    @property
    def evaluation_due(self) -> bool:
        """Whether an evaluation is due after the last step, and has not been done yet.

        Just before the end none is due, since there is one at the end.
        """
        step, steps, every = self.progress.step, self.config.steps, self.config.eval_every
        wanted = step == steps or (step % every == 0 and 4 * (steps - step) >= every)
        return wanted and step > self.progress.evaluated_step

    @property
    def finished(self) -> bool:
        """Whether all steps are taken or patience has run out, and no evaluation is due."""
        if self.evaluation_due:
            return False
        patience, waited = self.config.patience, self.progress.evaluations_since_best
        out_of_patience = patience is not None and waited >= patience
        return self.progress.step >= self.config.steps or out_of_patience

    def train_once(self) -> Trained:
        """Take one step."""
        progress = self.progress
        batch = self.batcher.next_batch()
        lr = learning_rate(progress.step, self.config, self.stage)
        state = None if batch.starts_stream else self.carried
        scale = self.scaler.get_scale()
        result = train_step(self.gradients, self.optimizer, batch, state, self.config, lr)
        self._check(result, scale)
        self.carried = result.carried
        progress.step += 1
        progress.tokens += batch.tokens
        return Trained(progress.step, result.loss, lr, result.grad_norm, progress.tokens)

    def _check(self, result: StepResult, scale: float) -> None:
        """Raise unless the step was finite or was an overflow that fp16's scaler handles.

        Args:
            result: The result of the step.
            scale: The loss scale during the step; an overflow lowers it for the next one.

        Raises:
            DivergedError: Loss or gradient are not finite.
        """
        if result.finite:
            return
        if math.isfinite(result.loss) and 1 <= self.scaler.get_scale() < scale:
            return
        loss_is_finite = math.isfinite(result.loss)
        what = "gradient is no longer finite" if loss_is_finite else f"loss became {result.loss}"
        raise DivergedError(f"Training diverged: the {what} at step {self.progress.step + 1}.")

    def reschedule(self, steps: int, model: ModelConfig) -> None:
        """Change the number of steps and the dropout probabilities of a run in progress.

        From then on, the learning rate is that of a run with the new number of steps.
        """
        self.config = replace(self.config, steps=steps)
        self.model.set_dropout(model.dropout, model.ngram_dropout)

    def evaluate(self, should_stop: ShouldStop = lambda: None) -> Evaluated | None:
        """Score the validation text, or the part of it that `valid_tokens` says.

        It has no effect on training. The result is None if it was given up.
        """
        step = self.progress.step
        tokenizer = self.data.tokenizer
        score = score_unless_stopped(
            self.model, tokenizer, self.valid, self.autocast, self.group, should_stop
        )
        if score is None:
            return None
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
        """Return the context for the run's number format."""
        return autocast(self.precision, self.model.device)

    def state(self) -> tuple[Arrays, Facts]:
        """Return everything that the next step depends on, as arrays and JSON values.

        All processes call this at once.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        facts = {
            "progress": self.progress.to_dict(),
            "scaler": self.scaler.state_dict(),
            "batcher": self.batcher.position(),
        }
        if self.stage.begin:
            facts["stage"] = vars(self.stage)
        return arrays | self._carried_arrays() | self._generator_arrays(), facts

    def _carried_arrays(self) -> Arrays:
        """Return the carried state of the whole batch, gathered from all processes."""
        if self.carried is None:
            return {}
        own = shard(self.batcher.batch_size, self.group.rank, self.group.size)
        # Half-precision numbers are exact in float32, and convert back without change.
        rows = tuple(tensor[: own.stop - own.start].float().cpu() for tensor in self.carried)
        joined = join_rows(self.group.all_gather(rows))
        return {f"carried.{index}": tensor.numpy() for index, tensor in enumerate(joined)}

    def _generator_arrays(self) -> Arrays:
        """Return the states of each process's random generators."""
        own = {"rng.cpu": torch.get_rng_state().numpy()}
        if self.model.device.type == "cuda":
            own["rng.cuda"] = torch.cuda.get_rng_state(self.model.device).numpy()
        return {
            rank_key(name, rank): value
            for rank, generators in enumerate(self.group.all_gather(own))
            for name, value in generators.items()
        }

    def restore(self, arrays: Arrays, facts: Facts) -> None:
        """Restore what `state` returned, possibly with another number of processes.

        The rows are then sharded differently, and an additional process keeps the random generator
        of its own seed.

        Raises:
            ValueError: It is the state of another model, optimizer, batcher or version. Torch may
                raise other errors then.
        """
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.model.load_state_dict(_with_prefix("model.", tensors))
        self.optimizer.restore(_with_prefix("optimizer.", tensors))
        self._restore_generators(tensors)
        self.progress = Progress.from_dict(facts["progress"])
        self.stage = Stage.restored(facts, self.config)
        self._restore_scaler(facts)
        self.batcher.restore(facts["batcher"])
        self._restore_carried(_with_prefix("carried.", tensors))

    def _restore_scaler(self, facts: Facts) -> None:
        if not self.scaler.is_enabled() or "scaler" not in facts:  # older states have none
            return
        state, own = facts["scaler"], self.scaler.state_dict()
        kinds = {name: type(value) for name, value in own.items()}
        fits = {name: type(value) for name, value in state.items()} == kinds
        if not fits or not all(0 <= value < math.inf for value in state.values()):
            raise ValueError("The state of the loss scale does not fit.")
        self.scaler.load_state_dict(state)

    def _restore_generators(self, tensors: dict[str, Tensor]) -> None:
        own = rank_key("rng.cpu", self.group.rank)
        if own in tensors or self.group.is_main:  # only an additional process may have none
            torch.set_rng_state(tensors[own])
        own = rank_key("rng.cuda", self.group.rank)
        if own in tensors and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[own], self.model.device)

    def _restore_carried(self, tensors: dict[str, Tensor]) -> None:
        """Take this process's rows of the batch's carried state; there is none before a step."""
        names = [str(index) for index in range(len(tensors))]  # a file does not keep their order
        carried = tuple(tensors[name].to(self.model.device) for name in names)
        rows = self.batcher.batch_size
        zeros = self.model.initial_state(rows)
        zeros += () if self.teacher is None else self.teacher.initial_state(rows)
        if self.teacher is None and self.finished:  # a teacher's state, which nothing needs now
            carried = carried[: len(zeros)]
        if carried and [one.shape for one in carried] != [zero.shape for zero in zeros]:
            raise ValueError("The carried state does not fit the model.")
        own = shard(rows, self.group.rank, self.group.size)
        own = own if own.start < own.stop else slice(1)  # any state suits a row without targets
        self.carried = tuple(tensor[own] for tensor in carried) or None


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, under their names without it."""
    names = (name for name in tensors if name.startswith(prefix))
    return {name.removeprefix(prefix): tensors[name] for name in names}
