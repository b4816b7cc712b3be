"""A run and its folder: train, record what happens, keep the best model and what a resume needs."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.data.records import separator_of
from charrnn.data.text import Encoded
from charrnn.errors import DivergedError, InterruptedRun, MachineError
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import parameter_count
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, Ranks, RanksLost
from charrnn.sampling import SamplingConfig, generate_records, generate_text
from charrnn.storage.container import Arrays, SavedModel, save_model
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import Tokenizer
from charrnn.training.plan import Plan, length_of, steps_in_time, with_steps
from charrnn.training.trainer import Evaluated, Event, Progress, Trained, Trainer
from charrnn.version import __version__

SECONDS_BETWEEN_SAVES = 60.0
PACES = 10  # times that a run whose budget is time looks at its pace
SAMPLE_LENGTH = 200  # characters
SAMPLE_RECORDS = 8


@dataclass(frozen=True)
class Saved:
    """The training state is safely on disk."""

    step: int


@dataclass(frozen=True)
class SaveFailed:
    """A periodic save did not work; training goes on, and it will be tried again."""

    step: int
    error: MachineError


@dataclass(frozen=True)
class Sampled:
    """A short text that the model wrote."""

    step: int
    text: str


@dataclass(frozen=True)
class Rescheduled:
    """The run will have another number of steps, so that it ends in time.

    The machine's speed has changed.
    """

    step: int
    steps: int


Happening = Event | Saved | SaveFailed | Sampled | Rescheduled


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 of the whole text, both parts.
        train: The training part.
        valid: The validation part.
    """

    name: str
    sha256: str
    train: Encoded
    valid: Encoded


class Session:
    """One run.

    A trainer, the folder that it is recorded in, and the facts that both were made from.

    Args:
        folder: Locked by the caller, if this rank is the first; the others write nothing.
        request: What was asked for.
        plan: The settings.
        tokenizer: Of the training text.
        data: The text.
        weights: Where to begin; None is a new model made from the seed.
        ranks: Those that train together; each of them has a session of the same arguments.
    """

    def __init__(
        self,
        folder: RunFolder,
        request: dict[str, Any],
        plan: Plan,
        tokenizer: Tokenizer,
        data: Data,
        weights: dict[str, npt.NDArray[np.float32]] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.folder, self.request, self.plan, self.tokenizer, self.data = (
            folder,
            request,
            plan,
            tokenizer,
            data,
        )
        self.ranks = ranks
        model = build(plan.model, plan.train.seed)
        if weights is not None:
            model.load_state_dict(
                {name: torch.from_numpy(value) for name, value in weights.items()}
            )
        device = choose_device(plan.train.device)
        self.trainer = Trainer(
            model.to(device), tokenizer, data.train, data.valid, plan.train, plan.precision, ranks
        )
        self.seconds = 0.0
        self.pace = (time.monotonic(), 0)  # when the pace was last taken, and after which step
        self.saved: Progress | None = None
        self.saved_at = time.monotonic()
        self.unsaved_model: SavedModel | None = None
        self.written_config: dict[str, Any] = {}

    @property
    def model(self) -> CharRNN:
        """The model as it is now."""
        return self.trainer.model

    def run(self, should_stop: Callable[[], int | None] = lambda: None) -> Iterator[Happening]:
        """Train to the end, recording and saving on the way, and yield what happens.

        Args:
            should_stop: Asked after every step; the number of a signal ends the run, of all ranks,
                in good order.

        Raises:
            InterruptedRun: `should_stop` gave a signal; everything is saved.
            DivergedError: The numbers are no longer finite; what was saved before is good.
            MachineError: The last save failed.
        """
        began = time.monotonic() - self.seconds
        self.pace = (time.monotonic(), self.trainer.progress.step)
        for event in self._train():
            self.seconds = time.monotonic() - began
            yield event
            if event.step - self.pace[1] >= max(1, self.plan.train.steps // PACES):
                yield from self._keep_to_time(event.step)
            # what only one rank knows, that a signal has come or a minute has passed, all of them
            # act upon
            stop, save = self.ranks.most(should_stop() or 0, self._save_due(event))
            yield from self._follow_up(event, save=bool(save))
            if stop and not self.trainer.finished:
                self.save()
                raise InterruptedRun(
                    f"Stopped and saved at step {event.step:,}.", signal_number=int(stop)
                )
        if self.saved != self.trainer.progress:
            self.save()
            yield Saved(self.trainer.progress.step)

    def _keep_to_time(self, step: int) -> Iterator[Rescheduled]:
        """If time is the run's budget, let it have the steps that it can take at the pace since this was last asked."""
        now, (then, before), plan = time.monotonic(), self.pace, self.plan
        self.pace = (now, step)
        wanted = steps_in_time(plan, step, now, pace=(step - before) / max(1e-9, now - then))
        steps = self.ranks.from_first(wanted)
        if steps != plan.train.steps:
            self.plan = with_steps(plan, steps, length_of(self.data.train), self.request)
            self.trainer.reschedule(steps, self.plan.model.dropout)
            yield Rescheduled(step, steps)

    def save(self) -> None:
        """Write what is there to be written.

        The best model if it could not be saved before, and the training state.

        All ranks save at once, for each has a part of the state; the first one writes.

        Raises:
            MachineError: It cannot be written; what was saved before is still there. Or the ranks
                have come apart.
        """
        arrays, values = self.trainer.state()
        self._check_ranks(arrays)
        failure: MachineError | None = None
        if self.ranks.first:
            try:
                self._write(arrays, values)
            except MachineError as error:
                failure = error
        if failed := self.ranks.from_first(
            None if failure is None else (failure.message, failure.hint)
        ):
            raise failure or MachineError(*failed)
        self.saved = replace(self.trainer.progress)
        self.saved_at = time.monotonic()

    def _check_ranks(self, arrays: Arrays) -> None:
        """Raise `RanksLost` unless all ranks have the same weights.

        Two kinds of machine may compute differently.
        """
        if self.ranks.size > 1:
            weights = b"".join(
                value.tobytes()
                for name, value in sorted(arrays.items())
                if name.startswith("model.")
            )
            facts = {
                f"The SHA-256 of the weights at step {self.trainer.progress.step:,}": sha256(
                    weights
                ).hexdigest()
            }
            hint = "Use machines of one kind, with one version of torch. What was saved before is good."
            self.ranks.check_same(facts, hint, RanksLost)

    def _write(self, arrays: Arrays, values: dict[str, Any]) -> None:
        self._save_best()
        config = (
            self.plan.train.to_dict() | self.plan.model.to_dict()
        )  # the model's vocab_size, not what was asked for
        if config != self.written_config:  # a plan changes if it is to keep to its time
            self.folder.write_config(config)
            self.written_config = config
        facts = {
            "request": self.request,
            "model": self.plan.model.to_dict(),
            "train": self.plan.train.to_dict(),
            "precision": self.plan.precision,
            "epochs": self.plan.epochs,
            "tokenizer": self.tokenizer.to_dict(),
            "text": self._text_facts(),
            "finished": self.trainer.finished,
            "ranks": self.ranks.size,
            "trainer": values,
        }
        self.folder.save_state(arrays, facts)

    def sample(self) -> str:
        """Return a short text from the model as it is now.

        Training goes on as if nothing had happened.
        """
        sampler = NumpyModel(self.plan.model, self._weights())
        rules, seed = SamplingConfig(length=SAMPLE_LENGTH), self.plan.train.seed
        separator = separator_of(self.plan.train.records)
        if separator is None:
            return "".join(generate_text(sampler, self.tokenizer, "", rules, seed=seed))
        records = generate_records(
            sampler, self.tokenizer, "", rules, separator=separator, seed=seed, num=SAMPLE_RECORDS
        )
        return separator.join(record.text for record in records)[:SAMPLE_LENGTH]

    def summary(self) -> dict[str, Any]:
        """Return the run's result as JSON values."""
        progress = self.trainer.progress
        return {
            "out": str(self.folder.path),
            "step": progress.step,
            "best_step": progress.best_step,
            "valid_nats": progress.best_nats,
            "valid_bits_per_char": progress.best_nats
            / math.log(2)
            * len(self.data.valid.ids)
            / self.data.valid.characters,
            "parameters": parameter_count(self.plan.model),
            "epochs": self.plan.epochs,
            "tokens": progress.tokens,
            "seconds": round(self.seconds, 3),
            "chars_per_second": round(
                progress.tokens
                / max(1e-9, self.seconds)
                * self.data.train.characters
                / len(self.data.train.ids)
            ),
            "precision": self.plan.precision,
            "ranks": self.ranks.size,
        }

    def _sample_due(self, event: Event) -> bool:
        every = self.plan.train.sample_every
        return (
            self.ranks.first
            and isinstance(event, Trained)
            and every is not None
            and event.step % every == 0
        )

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {
            name: value.detach().cpu().numpy() for name, value in self.model.state_dict().items()
        }

    def _train(self) -> Iterator[Event]:
        try:
            yield from self.trainer.run()
        except DivergedError as error:
            good = f"The best model so far, of step {self.trainer.progress.best_step:,}, is in {self.folder.model}."
            good = good if self.trainer.progress.best_step else "No model was saved before."
            raise DivergedError(
                f"{error.message} {good}",
                f"Try a lower learning rate: --fresh --lr {self.plan.train.lr / 4:g}",
            ) from None

    def _follow_up(self, event: Event, *, save: bool) -> Iterator[Happening]:
        """Do what an event calls for: log, sample, keep the model, save.

        On a full disk, warn and go on.
        """
        if self.ranks.first and isinstance(event, Evaluated) and event.best:
            self.unsaved_model = self._saved_model(event)
        try:
            self._log(event)
            if isinstance(event, Evaluated):
                self._save_best()
            elif save:
                self.saved_at = (
                    time.monotonic()
                )  # a save that fails is tried again after the same while
                self.save()
                yield Saved(event.step)
        except MachineError as error:
            if isinstance(error, RanksLost):
                raise
            yield SaveFailed(event.step, error)
        if self._sample_due(event):
            yield Sampled(event.step, self.sample())

    def _save_best(self) -> None:
        """Write the best model, unless it is written already."""
        if self.unsaved_model is not None:
            save_model(self.folder.model, self.unsaved_model)
            self.unsaved_model = None

    def _save_due(self, event: Event) -> bool:
        every = self.plan.train.save_every
        if not isinstance(event, Trained) or self.trainer.finished:
            return False
        return (
            time.monotonic() - self.saved_at > SECONDS_BETWEEN_SAVES
            if every is None
            else event.step % every == 0
        )

    def _log(self, event: Event) -> None:
        """Add a line to the metrics log where one is due."""
        if not self.ranks.first:
            return
        if isinstance(event, Evaluated):
            values = {
                "valid": event.score.nats_per_token,
                "bits_per_char": event.score.bits_per_char,
            }
        elif event.step % self.plan.train.log_every == 0:
            values = {
                "loss": event.loss,
                "lr": event.lr,
                "grad_norm": event.grad_norm,
                "tokens": event.tokens,
            }
        else:
            return
        self.folder.append_metrics(
            {"step": event.step} | values | {"seconds": round(self.seconds, 3)}
        )

    def _saved_model(self, event: Evaluated) -> SavedModel:
        about = {
            "step": event.step,
            "epochs": round(self.plan.epochs * event.step / self.plan.train.steps, 3),
            "valid": event.score.to_dict(),
            "text": self._text_facts(),
            "train": self.plan.train.to_dict(),
            "charrnn": __version__,
        }
        return SavedModel(self.plan.model, self.tokenizer, self._weights(), about)

    def _text_facts(self) -> dict[str, Any]:
        data = self.data
        return {
            "name": data.name,
            "sha256": data.sha256,
            "train": data.train.characters,
            "valid": data.valid.characters,
        }
