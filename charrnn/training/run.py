"""A run: a trainer and the folder in which its metrics, its best model and its state are saved."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from charrnn.data.encoding import EncodedSplit
from charrnn.errors import DivergedError, InterruptedRun, MachineError
from charrnn.evaluation.score import Score
from charrnn.model.numpy_model import NumpyModel
from charrnn.runtime.distributed import ConnectionLost, ProcessGroup
from charrnn.sampling.generate import Generator
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel, save_model
from charrnn.storage.run_folder import RunFolder
from charrnn.training.events import (
    Evaluated,
    Finished,
    Rescheduled,
    RunEvent,
    Sampled,
    Saved,
    SaveFailed,
    ScoredWhole,
    Started,
    Trained,
)
from charrnn.training.facts import Speed, check_same_weights, summary
from charrnn.training.plan import Plan, text_length
from charrnn.training.preview import preview
from charrnn.training.progress import Progress
from charrnn.training.time_budget import TimeBudget
from charrnn.training.trainer import Trainer
from charrnn.training.validation import ShouldStop, remembered
from charrnn.training.whole_score import score_best_on_whole
from charrnn.version import __version__

SECONDS_BETWEEN_SAVES = 60.0


class Run:
    """A trainer, and the folder that its progress is saved in.

    Args:
        folder: Locked by the caller in the main process; the other processes do not write.
        requested: The options that the run depends on; see `TrainRequest.requested`.
        plan: The settings.
        trainer: Takes the steps.
        budget: The time that the run may take, if it is limited.
    """

    def __init__(
        self,
        folder: RunFolder,
        requested: dict[str, Any],
        plan: Plan,
        trainer: Trainer,
        budget: TimeBudget | None = None,
    ) -> None:
        self.folder, self.requested, self.plan, self.trainer = folder, requested, plan, trainer
        self.budget = budget
        self.seconds = 0.0
        self.saved: Progress | None = None
        self.whole: Score | None = None  # of the best model, if evaluations scored a part
        self.saved_at = time.monotonic()
        self._unsaved_model: SavedModel | None = None
        self._written_config: dict[str, Any] = {}

    @property
    def data(self) -> EncodedSplit:
        """The text."""
        return self.trainer.data

    @property
    def group(self) -> ProcessGroup:
        """The processes that train together; each has a run with the same arguments."""
        return self.trainer.group

    def train(self, should_stop: ShouldStop = lambda: None) -> Iterator[RunEvent]:
        """Train to the end, log and save during training, and yield events.

        Args:
            should_stop: Called after every step and during evaluations; returning a signal's number
                in one process saves and ends the run in all.

        Raises:
            InterruptedRun: `should_stop` returned a signal; everything is saved.
            DivergedError: Loss or gradient are no longer finite; earlier saves are good.
            MachineError: The last save failed.
        """
        if not self.trainer.finished:
            yield self._start()
            yield from self._train(remembered(should_stop))
        if self.saved != self.trainer.progress:
            self.save()
            yield Saved(self.trainer.progress.step)
        yield from self._score_whole(remembered(should_stop))
        yield Finished(self.summary())

    def _score_whole(self, should_stop: ShouldStop) -> Iterator[ScoredWhole]:
        """Score the best model on the whole validation text, if only a part was scored so far."""
        if not self.plan.train.valid_whole or self.trainer.valid is self.data.valid:
            return
        self.whole = score_best_on_whole(self.folder, self.trainer, should_stop)
        if self.whole is None:
            (stop,) = self.group.max(should_stop() or 0)
            self._stop(int(stop))
        yield ScoredWhole(self.trainer.progress.best_step, self.whole)

    def _start(self) -> Started:
        progress, train = self.trainer.progress, self.data.train
        if self.budget:
            self.budget.start(progress.step)
        characters_per_token = train.characters / len(train.ids)
        return Started(progress.step, self.plan.train.steps, progress.tokens, characters_per_token)

    def _train(self, should_stop: ShouldStop) -> Iterator[RunEvent]:
        began = time.monotonic() - self.seconds
        for event in self._trainer_events(should_stop):
            self.seconds = time.monotonic() - began
            yield event
            yield from self._adjust_to_deadline(event.step)
            # All processes stop or save as soon as one of them has a reason to.
            stop, save = self.group.max(should_stop() or 0, self._save_due(event))
            yield from self._handle(event, save=bool(save))
            if stop and not self.trainer.finished:
                self._stop(int(stop))
        if not self.trainer.finished:  # the evaluation that is due was given up
            (stop,) = self.group.max(should_stop() or 0)
            self._stop(int(stop))

    def _stop(self, signal_number: int) -> NoReturn:
        self.save()
        message = f"Stopped and saved at step {self.trainer.progress.step:,}."
        raise InterruptedRun(message, signal_number=signal_number)

    def _trainer_events(self, should_stop: ShouldStop) -> Iterator[Trained | Evaluated]:
        try:
            yield from self.trainer.run(should_stop)
        except DivergedError as error:
            best = self.trainer.progress.best_step
            saved = f"The best model so far, of step {best:,}, is in {self.folder.model}."
            saved = saved if best else "No model was saved before."
            hint = f"Try a lower learning rate: `fresh` `lr` {self.plan.train.lr / 4:g}"
            raise DivergedError(f"{error.message} {saved}", hint) from None

    def _adjust_to_deadline(self, step: int) -> Iterator[Rescheduled]:
        """Change the number of steps of a run with a time budget to fit its recent speed."""
        config = self.plan.train
        if self.budget is None or not self.budget.is_due(step, config.steps):
            return
        steps = self.group.broadcast(self.budget.adjust_to_deadline(config, step))
        if steps != config.steps:
            self.plan = self.plan.with_steps(steps, text_length(self.data.train), self.requested)
            self.trainer.reschedule(steps, self.plan.model)
            yield Rescheduled(step, steps)

    def _handle(self, event: Trained | Evaluated, *, save: bool) -> Iterator[RunEvent]:
        """Log an event, save the state or the best model, and sample, where each is due.

        If a save fails, training continues.
        """
        if self.group.is_main and isinstance(event, Evaluated) and event.best:
            self._unsaved_model = self._best_model(event)
        try:
            self._log(event)
            if isinstance(event, Evaluated):
                self._save_best()
            elif save:
                self.saved_at = time.monotonic()  # retry a failed save after the usual interval
                self.save()
                yield Saved(event.step)
        except ConnectionLost:
            raise
        except MachineError as error:
            yield SaveFailed(event.step, error)
        if self._sample_due(event):
            yield Sampled(event.step, self.sample())

    def _save_due(self, event: Trained | Evaluated) -> bool:
        every = self.plan.train.save_every
        if not isinstance(event, Trained) or event.step >= self.plan.train.steps:
            return False
        if every is not None:
            return event.step % every == 0
        return time.monotonic() - self.saved_at > SECONDS_BETWEEN_SAVES

    def _sample_due(self, event: Trained | Evaluated) -> bool:
        every = self.plan.train.sample_every
        if not self.group.is_main or not isinstance(event, Trained) or every is None:
            return False
        return event.step % every == 0

    def _log(self, event: Trained | Evaluated) -> None:
        """Add a line to the metrics log if one is due."""
        if not self.group.is_main:
            return
        if isinstance(event, Evaluated):
            score = event.score
            values = {"valid": score.nats_per_token, "bits_per_char": score.bits_per_char}
        elif event.step % self.plan.train.log_every == 0:
            values = {"loss": event.loss, "lr": event.lr, "grad_norm": event.grad_norm}
            values["tokens"] = event.tokens
        else:
            return
        line = {"step": event.step} | values | {"seconds": round(self.seconds, 3)}
        self.folder.metrics.append(line)

    def save(self) -> None:
        """Write the training state, and the best model if that could not be saved before.

        All processes call this at once, since each has a part of the state; the main one writes.

        Raises:
            MachineError: It cannot be written, and what was saved before is still there; or the
                processes have different weights.
        """
        arrays, facts = self.trainer.state()
        check_same_weights(self.group, arrays, self.trainer.progress.step)
        failure: MachineError | None = None
        if self.group.is_main:
            try:
                self._write(arrays, facts)
            except MachineError as error:
                failure = error
        message = None if failure is None else (failure.message, failure.hint)
        if failed := self.group.broadcast(message):
            raise failure or MachineError(*failed)
        self.saved = replace(self.trainer.progress)
        self.saved_at = time.monotonic()

    def _write(self, arrays: Arrays, trainer: dict[str, Any]) -> None:
        self._save_best()
        plan = self.plan
        config = plan.train.to_dict() | plan.model.to_dict()  # vocab_size is the model's
        if config != self._written_config:  # a time budget changes the steps
            self.folder.write_config(config)
            self._written_config = config
        facts = {
            "request": self.requested,
            "model": plan.model.to_dict(),
            "train": plan.train.to_dict(),
            "precision": plan.precision,
            "epochs": plan.epochs,
            "tokenizer": self.data.tokenizer.to_dict(),
            "text": self._text_facts(),
            "finished": self.trainer.finished,
            "ranks": self.group.size,
            "trainer": trainer,
        }
        self.folder.save_state(arrays, facts)

    def _save_best(self) -> None:
        """Write the best model, unless it is already written."""
        if self._unsaved_model is not None:
            save_model(self.folder.model, self._unsaved_model)
            self._unsaved_model = None

    def _best_model(self, event: Evaluated) -> SavedModel:
        about = {
            "step": event.step,
            "epochs": round(self.plan.epochs * event.step / self.plan.train.steps, 3),
            "valid": event.score.to_dict(),
            "text": self._text_facts() | self.data.known,
            "train": self.plan.train.to_dict(),
            "charrnn": __version__,
        }
        return SavedModel(self.plan.model, self.data.tokenizer, self._weights(), about)

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        state = self.trainer.model.state_dict()  # copied: a save that failed is done again
        return {name: value.cpu().numpy().copy() for name, value in state.items()}

    def _text_facts(self) -> dict[str, Any]:
        data = self.data
        sizes = {"train": data.train.characters, "valid": data.valid.characters}
        return {"name": data.name, "sha256": data.sha256, **sizes}

    def sample(self) -> str:
        """Return a short text from the current model, without any effect on training."""
        model = NumpyModel(self.plan.model, self._weights())
        separator, seed = self.data.format.separator, self.plan.train.seed
        return preview(Generator(model, self.data.tokenizer, separator), seed)

    def summary(self) -> dict[str, Any]:
        """Return the run's result as JSON values."""
        speed = Speed(self.seconds, self.group.size)
        progress = self.trainer.progress
        return summary(self.folder.path, self.plan, self.data, progress, speed, self.whole)
