"""Training: a Trainer takes the steps, evaluates, and holds exactly the state that a resume needs.

`Trainer.run()` yields what happens (`Trained`, `Evaluated`); a terminal paints it, a notebook plots
it, a test reads it. Nothing here prints, and nothing here knows about files.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.config.schema import TrainConfig
from charrnn.data.batching import make_batcher, share
from charrnn.data.text import Encoded
from charrnn.errors import DivergedError, UsageError
from charrnn.evaluation.scoring import Score, ScoringProtocol, evaluate
from charrnn.model.cells import State
from charrnn.model.network import CharRNN
from charrnn.runtime.device import autocast
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.tokenizers import Tokenizer
from charrnn.training.optimizer import Optimizer, learning_rate
from charrnn.training.step import Learner, Step, join, train_step


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


@dataclass
class Progress:
    """Where a run is.

    With the weights, the optimizer, the batcher and the generators, all that a resume needs.
    """

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
        ranks: Those that train together; each of them makes a trainer of the same arguments.

    Raises:
        UsageError: The batches cannot be shared among the ranks.
    """

    def __init__(
        self,
        model: CharRNN,
        tokenizer: Tokenizer,
        train: Encoded,
        valid: Encoded,
        config: TrainConfig,
        precision: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.tokenizer, self.valid, self.config, self.precision = (
            model,
            tokenizer,
            valid,
            config,
            precision,
        )
        self.ranks = ranks
        self.batcher = make_batcher(train.ids, config, model.start, train.starts)
        if train.starts is None:  # batches of records have rows as they come
            check_shares(self.batcher.batch_size, config, ranks)
        self.learner = Learner(model, ranks, config.accumulate)
        self.optimizer = Optimizer(model, config, precision)
        self.carried: State | None = None
        self.progress = Progress(loss_scale=2.0**15 if precision == "fp16" else 1.0)
        seed_dropout(config.seed, ranks.rank)

    def run(self) -> Iterator[Event]:
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
            self.learner,
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
        """Raise unless the step was finite.

        Fp16 halves the loss's scale instead, and doubles it after a while.
        """
        progress = self.progress
        if step.finite:
            progress.quiet_steps += 1
            if self.precision == "fp16" and progress.quiet_steps % 1000 == 0:
                progress.loss_scale *= 2
        elif math.isfinite(step.loss) and progress.loss_scale > 1:
            progress.loss_scale, progress.quiet_steps = progress.loss_scale / 2, 0
        else:
            what = (
                f"loss became {step.loss}"
                if not math.isfinite(step.loss)
                else "gradient is no longer finite"
            )
            raise DivergedError(f"Training diverged: the {what} at step {progress.step + 1}.")

    def reschedule(self, steps: int, dropout: float) -> None:
        """Go on with another number of steps, as if the learning rate had always had them, and other dropout."""
        self.config = replace(self.config, steps=steps)
        self.model.set_dropout(dropout)

    def evaluate(self) -> Evaluated:
        """Score the validation text; training goes on as if nothing had happened."""
        protocol = ScoringProtocol.of(self.valid)
        score = evaluate(
            self.model,
            self.tokenizer,
            self.valid,
            protocol,
            autocast=self.autocast,
            ranks=self.ranks,
        )
        if not math.isfinite(score.nats):
            raise DivergedError(
                f"Training diverged: validation scored {score.nats} nats at step {self.progress.step}."
            )
        progress, nats = self.progress, score.nats_per_token
        best = nats < progress.best_nats
        progress.evaluated_step = progress.step
        if best:
            progress.best_nats, progress.best_step, progress.evaluations_since_best = (
                nats,
                progress.step,
                0,
            )
        else:
            progress.evaluations_since_best += 1
        return Evaluated(progress.step, score, best)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the run's number format."""
        return autocast(self.precision, self.model.device)

    def state(self) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
        """Return everything that the next step depends on: arrays, and plain values.

        All ranks are asked at once.
        """
        tensors: dict[str, Tensor] = {
            f"model.{name}": value for name, value in self.model.state_dict().items()
        }
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        best = self.progress.best_nats
        values = {
            "progress": vars(self.progress) | {"best_nats": best if math.isfinite(best) else None},
            "batcher": self.batcher.position(),
        }
        return arrays | self._carried() | self._generators(), values

    def _carried(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the state of all rows of the batch, this rank's and the others'."""
        if self.carried is None:
            return {}
        own = share(self.batcher.batch_size, self.ranks.rank, self.ranks.size)
        # A half-precision state is exact in float32, and becomes the same half-precision numbers in
        # the next step.
        rows = tuple(tensor[: own.stop - own.start].float().cpu() for tensor in self.carried)
        return {
            f"carried.{index}": tensor.numpy()
            for index, tensor in enumerate(join(self.ranks.gather(rows)))
        }

    def _generators(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return each rank's random generators.

        The first one's have the names that those of a process alone have.
        """
        found = {"rng.cpu": torch.get_rng_state().numpy()}
        if self.model.device.type == "cuda":
            found["rng.cuda"] = torch.cuda.get_rng_state(self.model.device).numpy()
        return {
            of_rank(name, rank): value
            for rank, generators in enumerate(self.ranks.gather(found))
            for name, value in generators.items()
        }

    def restore(self, arrays: dict[str, np.ndarray[Any, Any]], values: dict[str, Any]) -> None:
        """Go back to what `state` returned.

        With another number of ranks than then the rows are dealt anew, and a rank that is new draws
        other dropout.

        Raises:
            ValueError: It is the state of another model, optimizer, batcher or version; so are some
                errors of torch.
        """
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.model.load_state_dict(_under("model.", tensors))
        self.optimizer.restore(_under("optimizer.", tensors))
        own = of_rank("rng.cpu", self.ranks.rank)
        if own in tensors or self.ranks.first:  # it is only a rank that is new that may have none
            torch.set_rng_state(tensors[own])
        own = of_rank("rng.cuda", self.ranks.rank)
        if own in tensors and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[own], self.model.device)
        best = values["progress"]["best_nats"]
        self.progress = Progress(
            **values["progress"] | {"best_nats": math.inf if best is None else best}
        )
        self.batcher.restore(values["batcher"])
        kinds = {name: type(value) for name, value in vars(Progress()).items()}
        if any(
            type(value) is not kinds[name] or not value >= 0
            for name, value in vars(self.progress).items()
        ):
            raise ValueError("A run's progress is told by numbers that are not negative.")
        carried = _under("carried.", tensors)  # in no order: the names hold it
        self._deal(
            tuple(carried[str(index)].to(self.model.device) for index in range(len(carried)))
        )

    def _deal(self, carried: State) -> None:
        """Take this rank's rows of the whole batch's state.

        None at all is the state before the first step.
        """
        rows = self.batcher.batch_size
        shapes = [tensor.shape for tensor in self.model.initial_state(rows)]
        if carried and [tensor.shape for tensor in carried] != shapes:
            raise ValueError("The carried state does not fit the model.")
        own = share(rows, self.ranks.rank, self.ranks.size)
        own = (
            own if own.start < own.stop else slice(1)
        )  # of a row without targets, any state will do
        self.carried = tuple(tensor[own] for tensor in carried) or None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def of_rank(name: str, rank: int) -> str:
    """Return what a rank's part of the state is called."""
    return f"{name}.{rank}" if rank else name


def seed_dropout(seed: int, rank: int) -> None:
    """Seed torch's global generator, for dropout draws from no other.

    In each rank with another seed.
    """
    torch.manual_seed(
        seed if rank == 0 else int(np.random.SeedSequence((seed, rank)).generate_state(1)[0])
    )


def check_shares(rows: int, config: TrainConfig, ranks: Ranks) -> None:
    """Raise `UsageError` unless a batch of so many rows comes out even among the ranks and the parts of each."""
    shares = ranks.size * config.accumulate
    if rows % shares == 0:
        return
    what = f"--batch-size {rows}" if rows == config.batch_size else f"The text's {rows} streams"
    groups = [f"{ranks.size} ranks"] * (ranks.size > 1) + [f"{config.accumulate} parts"] * (
        config.accumulate > 1
    )
    near = max(shares, rows - rows % shares)
    raise UsageError(
        f"{what} cannot be shared evenly among {' of '.join(groups)}.", f"Try --batch-size {near}."
    )
