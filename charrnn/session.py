"""A run and its folder: begin or continue, train, record what happens, keep the best model and what a resume needs."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn import __version__
from charrnn.checkpoints import SavedModel, save_model
from charrnn.config import ModelConfig, TrainConfig
from charrnn.corpus import Encoded
from charrnn.errors import DivergedError, InterruptedRun, MachineError, TextError, UsageError
from charrnn.machine import choose_device
from charrnn.model import CharRNN, build
from charrnn.numpy_model import NumpyModel
from charrnn.planning import Plan, Request, describe_device
from charrnn.runs import RunFolder
from charrnn.sampling import SamplingConfig, generate_text
from charrnn.shapes import parameter_count
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict
from charrnn.training import Evaluated, Event, Trained, Trainer

SECONDS_BETWEEN_SAVES = 60.0
SAMPLE_LENGTH = 200  # characters


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


Happening = Event | Saved | SaveFailed | Sampled


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
    """One run: a trainer, the folder that it is recorded in, and the facts that both were made from.

    Args:
        folder: Locked by the caller.
        request: What was asked for.
        plan: The settings.
        tokenizer: Of the training text.
        data: The text.
        weights: Where to begin; None is a new model made from the seed.
    """

    def __init__(
        self,
        folder: RunFolder,
        request: dict[str, Any],
        plan: Plan,
        tokenizer: Tokenizer,
        data: Data,
        weights: dict[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.folder, self.request, self.plan, self.tokenizer, self.data = folder, request, plan, tokenizer, data
        model = build(plan.model, plan.train.seed)
        if weights is not None:
            model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        device = choose_device(plan.train.device)
        self.trainer = Trainer(model.to(device), tokenizer, data.train, data.valid, plan.train, plan.precision)
        self.seconds = 0.0
        self.saved_step: int | None = None

    @property
    def model(self) -> CharRNN:
        """The model as it is now."""
        return self.trainer.model

    def run(self, should_stop: Callable[[], int | None] = lambda: None) -> Iterator[Happening]:
        """Train to the end, recording and saving on the way, and yield what happens.

        Args:
            should_stop: Asked after every step; the number of a signal ends the run in good order.

        Raises:
            InterruptedRun: `should_stop` gave a signal; everything is saved.
            DivergedError: The numbers are no longer finite; what was saved before is good.
            MachineError: The last save failed.
        """
        began, saved_at = time.monotonic() - self.seconds, time.monotonic()
        for event in self._train():
            self.seconds = time.monotonic() - began
            self._record(event)
            yield event
            if self._sample_due(event):
                yield Sampled(event.step, self.sample())
            signal_number = should_stop()
            if signal_number is not None and not self.trainer.finished:
                self.save()
                raise InterruptedRun(f"Stopped and saved at step {event.step:,}.", signal_number=signal_number)
            if self._save_due(event, saved_at):
                saved_at = time.monotonic()
                yield self._try_to_save()
        if self.saved_step != self.trainer.progress.step:
            self.save()
            yield Saved(self.trainer.progress.step)

    def save(self) -> None:
        """Write the whole training state."""
        arrays, values = self.trainer.state()
        facts = {
            "request": self.request,
            "model": self.plan.model.to_dict(),
            "train": self.plan.train.to_dict(),
            "precision": self.plan.precision,
            "epochs": self.plan.epochs,
            "tokenizer": self.tokenizer.to_dict(),
            "text": self._text_facts(),
            "finished": self.trainer.finished,
            "trainer": values,
        }
        self.folder.save_state(arrays, facts)
        self.saved_step = self.trainer.progress.step

    def sample(self) -> str:
        """Return a short text from the model as it is now; training goes on as if nothing had happened."""
        sampler = NumpyModel(self.plan.model, self._weights())
        rules = SamplingConfig(length=SAMPLE_LENGTH)
        return "".join(generate_text(sampler, self.tokenizer, "", rules, seed=self.plan.train.seed))

    def summary(self) -> dict[str, Any]:
        """Return the run's result as JSON values."""
        progress = self.trainer.progress
        return {
            "out": str(self.folder.path),
            "step": progress.step,
            "best_step": progress.best_step,
            "valid_nats": progress.best_nats,
            "valid_bits_per_char": progress.best_nats / math.log(2) * len(self.data.valid.ids) / self.data.valid.characters,
            "parameters": parameter_count(self.plan.model),
            "epochs": self.plan.epochs,
            "tokens": progress.tokens,
            "seconds": round(self.seconds, 3),
            "precision": self.plan.precision,
        }

    def _sample_due(self, event: Event) -> bool:
        every = self.plan.train.sample_every
        return isinstance(event, Trained) and every is not None and event.step % every == 0

    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name: value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}

    def _train(self) -> Iterator[Event]:
        try:
            yield from self.trainer.run()
        except DivergedError as error:
            good = f"The best model so far, of step {self.trainer.progress.best_step:,}, is in {self.folder.model}."
            good = good if self.trainer.progress.best_step else "No model was saved before."
            raise DivergedError(
                f"{error.message} {good}", f"Try a lower learning rate: --fresh --lr {self.plan.train.lr / 4:g}"
            ) from None

    def _save_due(self, event: Event, saved_at: float) -> bool:
        every = self.plan.train.save_every
        if not isinstance(event, Trained) or self.trainer.finished:
            return False
        return time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES if every is None else event.step % every == 0

    def _try_to_save(self) -> Saved | SaveFailed:
        step = self.trainer.progress.step
        try:
            self.save()
        except MachineError as error:
            return SaveFailed(step, error)
        return Saved(step)

    def _record(self, event: Event) -> None:
        """Write a line into the metrics log where one is due, and the model if it is the best so far."""
        if isinstance(event, Evaluated):
            if event.best:
                self._save_model(event)
            self._log(event.step, valid=event.score.nats_per_token, bits_per_char=event.score.bits_per_char)
        elif event.step % self.plan.train.log_every == 0:
            self._log(event.step, loss=event.loss, lr=event.lr, grad_norm=event.grad_norm, tokens=event.tokens)

    def _log(self, step: int, **values: float) -> None:
        self.folder.append_metrics({"step": step} | values | {"seconds": round(self.seconds, 3)})

    def _save_model(self, event: Evaluated) -> None:
        about = {
            "step": event.step,
            "epochs": round(self.plan.epochs * event.step / self.plan.train.steps, 3),
            "valid": event.score.to_dict(),
            "text": self._text_facts(),
            "train": self.plan.train.to_dict(),
            "charrnn": __version__,
        }
        save_model(self.folder.model, SavedModel(self.plan.model, self.tokenizer, self._weights(), about, ""))

    def _text_facts(self) -> dict[str, Any]:
        data = self.data
        return {"name": data.name, "sha256": data.sha256, "train": data.train.characters, "valid": data.valid.characters}


def begin(
    folder: RunFolder,
    request: Request,
    plan: Plan,
    tokenizer: Tokenizer,
    data: Data,
    weights: dict[str, npt.NDArray[np.float32]] | None = None,
) -> Session:
    """Begin a new run in an empty folder, and write its configuration there."""
    folder.write_config(plan.model.to_dict() | plan.train.to_dict())
    return Session(folder, request.to_dict(), plan, tokenizer, data, weights)


def resume(folder: RunFolder, request: Request, data: Data, saved: tuple[dict[str, Any], dict[str, Any]]) -> Session:
    """Continue a run from its saved state.

    Raises:
        UsageError: The request differs from the one that began the run.
        TextError: The text does.
    """
    arrays, facts = saved
    check_same_request(facts["request"], request.to_dict(), folder)
    if facts["text"]["sha256"] != data.sha256:
        was, now = facts["text"]["sha256"][:12], data.sha256[:12]
        raise TextError(
            f"{data.name} has changed since the run in {folder.path} began (SHA-256 {was}... then, {now}... now).",
            "Add --fresh to begin again with the new text; the old run is moved aside, not deleted.",
        )
    train = TrainConfig.from_dict(facts["train"])
    plan = Plan(
        model=ModelConfig.from_dict(facts["model"]),
        train=train,
        device=describe_device(train),
        precision=facts["precision"],
        epochs=facts["epochs"],
    )
    session = Session(folder, facts["request"], plan, tokenizer_from_dict(facts["tokenizer"]), data)
    session.trainer.restore(arrays, facts["trainer"])
    session.saved_step = session.trainer.progress.step
    folder.cut_metrics(session.trainer.progress.step)
    return session


def check_same_request(then: dict[str, Any], now: dict[str, Any], folder: RunFolder) -> None:
    """Raise `UsageError` with every difference if a run would be continued with other options."""
    names = [name for name in sorted(then | now) if then.get(name) != now.get(name)]
    if not names:
        return
    changes = ", ".join(
        f"--{'time' if name == 'seconds' else name.replace('_', '-')} was {_told(then, name)} and is now {_told(now, name)}"
        for name in names
    )
    raise UsageError(
        f"The run in {folder.path} was begun with other options: {changes}.",
        "Give the same options to continue it, or add --fresh to begin again; the old run is moved aside, not deleted.",
    )


def _told(values: dict[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "not given"


def starting_weights(start: SavedModel, config: ModelConfig) -> dict[str, npt.NDArray[np.float32]]:
    """Return a model's weights for a vocabulary that was extended by new symbols at its end.

    A new symbol's rows are the mean of the old ones: no better guess is known, and it is on the right scale. The start
    symbol, whose row is the last of the embedding, stays last.
    """
    weights = dict(start.weights)
    more = config.vocab_size - start.config.vocab_size
    if more:
        for name in ("embedding.weight", "head_weight", "head_bias"):
            if name in weights:
                old = weights[name]
                rows = start.config.vocab_size
                new = np.repeat(old[:rows].mean(axis=0, keepdims=True), more, axis=0)
                weights[name] = np.concatenate([old[:rows], new, old[rows:]])
    return weights
