"""A run: a trainer and the folder in which its metrics, its best model and its state are saved."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from charrnn.errors import DivergedError, InterruptedRun, MachineError
from charrnn.evaluation.score import Score
from charrnn.model.numpy_model import NumpyModel
from charrnn.runtime.distributed import ConnectionLost
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel
from charrnn.storage.run_folder import RunFolder
from charrnn.training.best_model import BestModel
from charrnn.training.events import (
    Busy,
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
from charrnn.training.facts import (
    Speed,
    check_same_weights,
    describe_machine,
    model_facts,
    state_facts,
    summary,
)
from charrnn.training.metrics import metrics_line
from charrnn.training.plan import Plan, text_length
from charrnn.training.preview import is_sample_due, is_shown, preview
from charrnn.training.progress import Progress
from charrnn.training.schedule import Stage
from charrnn.training.time_budget import TimeBudget
from charrnn.training.trainer import Trainer
from charrnn.training.validation import ShouldStop, remembered
from charrnn.training.whole_score import score_best_on_whole

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
        self.data, self.group, self.budget = trainer.data, trainer.group, budget
        self.machine = describe_machine(plan, trainer.model.device, self.group)
        self.seconds = 0.0
        self.extension = ""
        self.saved: Progress | None = None
        self.whole: Score | None = None  # of the best model, if evaluations scored a part
        self.saved_at = time.monotonic()
        self.best = BestModel(folder.model)
        self._written_config: dict[str, Any] = {}

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
        should_stop = remembered(should_stop)
        if not self.trainer.finished:
            yield self._start()
            yield from self._train(should_stop)
        if self.plan.train.steps == 0 and not self.folder.model.exists():
            yield from self._validate_untrained(should_stop)
        if self.saved != self.trainer.progress:
            self.save()
            yield Saved(self.trainer.progress.step)
        yield from self._score_whole(should_stop)
        yield Finished(self.summary())

    def _validate_untrained(self, should_stop: ShouldStop) -> Iterator[RunEvent]:
        evaluated = self.trainer.evaluate(should_stop)
        if evaluated is None:
            self._stop_as_asked(should_stop)
        yield from self._handle(evaluated, save=False)

    def extend(self, stage: Stage, budget: TimeBudget | None, note: str) -> None:
        """Begin a new stage of the learning rate; the plan is already that of the longer run.

        Args:
            stage: The stage.
            budget: The time that is left, if it is limited.
            note: What the user is told.
        """
        self.trainer.stage, self.budget, self.extension = stage, budget, note
        self.trainer.progress.evaluations_since_best = 0

    def _score_whole(self, should_stop: ShouldStop) -> Iterator[ScoredWhole]:
        """Score the best model on the whole validation text, if only a part was scored so far."""
        if not self.plan.train.valid_whole or self.trainer.valid is self.data.valid:
            return
        self.whole = score_best_on_whole(self.folder, self.trainer, should_stop)
        if self.whole is None:
            self._stop_as_asked(should_stop)
        yield ScoredWhole(self.trainer.progress.best_step, self.whole)

    def _start(self) -> Started:
        progress, train = self.trainer.progress, self.data.train
        if self.budget:
            self.budget.start(progress.step)
        characters_per_token = train.characters / len(train.ids)
        steps, own = self.plan.train.steps, str(self.folder.path)
        return Started(progress.step, steps, progress.tokens, characters_per_token, own)

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
            if self.trainer.evaluation_due:
                yield Busy("Validating", event.step)
        if not self.trainer.finished:  # the evaluation that is due was given up
            self._stop_as_asked(should_stop)

    def _stop_as_asked(self, should_stop: ShouldStop) -> NoReturn:
        """Stop because of the signal that one of the processes remembers."""
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
            self.best.write()
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
        steps = self.budget.adjust_to_deadline(config, step, self.best.seconds)
        steps = self.group.broadcast(steps)
        if steps != config.steps:
            self.plan = self.plan.with_steps(steps, text_length(self.data.train), self.requested)
            self.trainer.reschedule(steps, self.plan.model)
            yield Rescheduled(step, steps)

    def _handle(self, event: Trained | Evaluated, *, save: bool) -> Iterator[RunEvent]:
        """Log an event, save the state or the best model, and sample, where each is due.

        If a save fails, training continues.
        """
        if self.group.is_main and isinstance(event, Evaluated) and event.best:
            self.best.update(self._model_of(event))
        sample = self._due_sample(event)
        try:
            self._log(event, sample)
            if isinstance(event, Evaluated) and self.best.due:
                self.best.write()
            elif save:
                self.saved_at = time.monotonic()  # retry a failed save after the usual interval
                self.save()
                yield Saved(event.step)
        except ConnectionLost:
            raise
        except MachineError as error:
            yield SaveFailed(event.step, error)
        if sample is not None and is_shown(event.step, self.plan.train):
            yield Sampled(event.step, sample)

    def _save_due(self, event: Trained | Evaluated) -> bool:
        every = self.plan.train.save_every
        if not isinstance(event, Trained) or event.step >= self.plan.train.steps:
            return False
        if every is not None:
            return event.step % every == 0
        return time.monotonic() - self.saved_at > SECONDS_BETWEEN_SAVES

    def _due_sample(self, event: Trained | Evaluated) -> str | None:
        """Return a sample if one is due, for the terminal or for the run's page."""
        taken = self.group.is_main and isinstance(event, Trained)
        return self.sample() if taken and is_sample_due(event.step, self.plan.train) else None

    def _log(self, event: Trained | Evaluated, sample: str | None) -> None:
        """Add a line to the metrics log if one is due, and the sample, if there is one, to its."""
        if not self.group.is_main:
            return
        if (values := metrics_line(event, self.plan.train.log_every)) is not None:
            line = {"step": event.step, **values, "seconds": round(self.seconds, 3)}
            self.folder.metrics.append(line)
        if sample is not None:
            self.folder.samples.append({"step": event.step, "text": sample})

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
        self.best.write()
        plan = self.plan
        config = plan.train.to_dict() | plan.model.settings()  # vocab_size is the model's
        if config != self._written_config:  # a time budget changes the steps
            self.folder.write_config(config)
            self._written_config = config
        facts = {
            "request": self.requested,
            **state_facts(plan, self.data),
            "finished": self.trainer.finished,
            "ranks": self.group.size,
            "trainer": trainer,
        }
        self.folder.save_state(arrays, facts)
        saved = {"step": self.trainer.progress.step, "seconds": round(self.seconds, 3)}
        self.folder.record.update({"saved": saved})

    def _model_of(self, event: Evaluated) -> SavedModel:
        about, own = model_facts(self.plan, self.data, event, self.machine), self.data.tokenizer
        source = self.data.source_tokenizer
        return SavedModel(self.plan.model, own, self.weights(), about, source_tokenizer=source)

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return copies of the current weights by name: a save that failed is done again."""
        state = self.trainer.model.state_dict()
        return {name: value.cpu().numpy().copy() for name, value in state.items()}

    def sample(self) -> str:
        """Return a short text from the current model, without any effect on training."""
        model = NumpyModel(self.plan.model, self.weights())
        return preview(model, self.data, self.plan.train.seed)

    def summary(self) -> dict[str, Any]:
        """Return the run's result as JSON values."""
        speed = Speed(self.seconds, self.group.size)
        progress = self.trainer.progress
        return summary(self.folder.path, self.plan, self.data, progress, speed, self.whole)
