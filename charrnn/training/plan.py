"""The complete settings of a run. No torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.config.presets import (
    cell_settings,
    suitable_dropout,
    suitable_lr,
    suitable_ngram_dropout,
    suitable_ngram_order,
    suitable_ngram_path,
)
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded
from charrnn.model.shapes import parameter_count
from charrnn.training.changes import REPORTING


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The complete settings of a run.

    Attributes:
        model: The shape of the network.
        train: How it is trained.
        precision: The number format that `train.precision` selects on this machine.
        epochs: Passes over the training text.
    """

    model: ModelConfig
    train: TrainConfig
    precision: str
    epochs: float

    def with_steps(self, steps: int, length: int, chosen: Mapping[str, Any]) -> "Plan":
        """Return the plan for another number of steps, with dropout adapted to the epochs.

        The peak of the learning rate stays, as the run may be past it.

        Args:
            steps: Steps of the whole run.
            length: Length of the training text; see `text_length`.
            chosen: Options that were given, which do not change.
        """
        epochs = self.epochs * steps / self.train.steps
        model = with_dropout(self.model, epochs, length, chosen)
        return replace(self, model=model, train=replace(self.train, steps=steps), epochs=epochs)

    def with_reporting(self, request: Mapping[str, Any]) -> "Plan":
        """Return the plan with those options of a request that change no step of the training."""
        chosen = {name: request[name] for name in REPORTING & request.keys()}
        return replace(self, train=replace(self.train, **chosen))


@dataclass(frozen=True)
class Estimate:
    """The device, memory and time that a run will take.

    Attributes:
        device: Description of the device, for display.
        memory_bytes: Memory for weights, optimizer, training and scoring; None for a run that is
            continued.
        seconds: Training time, evaluations included; None if nothing was measured.
    """

    device: str
    memory_bytes: int | None = None
    seconds: float | None = None


def text_length(train: Encoded) -> int:
    """Return a text's length for presets: its characters, or its symbols if there are more."""
    return max(train.characters, len(train.ids))


def record_length(train: Encoded) -> float:
    """Return the mean length of a text's records in characters; infinite without records."""
    return math.inf if train.starts is None else train.characters / len(train.starts)


def with_settings_for_length(
    plan: Plan, text: Encoded, chosen: Mapping[str, Any], *, is_new: bool
) -> Plan:
    """Return a plan with the settings that suit its steps and epochs, unless they are `chosen`.

    Args:
        plan: The plan, with its steps and epochs.
        text: The training text.
        chosen: Options that were given.
        is_new: Whether the model starts from none, whose shape it would keep.
    """
    model, train = plan.model, plan.train
    if is_new and model.source is None:
        train = with_lr(train, plan.epochs, chosen)
    if is_new and model.ngram_embedding:
        model = with_ngrams(model, plan.epochs, text, chosen)
    model = with_dropout(model, plan.epochs, text_length(text), chosen)
    return replace(plan, model=model, train=train)


def with_ngrams(
    model: ModelConfig, epochs: float, text: Encoded, chosen: Mapping[str, Any]
) -> ModelConfig:
    """Return a model's shape with n-gram embeddings as they help, unless they are `chosen`.

    Args:
        model: The shape.
        epochs: Passes over the training text.
        text: The training text.
        chosen: Options that were given. A `teacher` changes where they help.
    """
    taught = chosen.get("teacher") is not None
    suitable = {
        "ngram_embedding": suitable_ngram_order(epochs, record_length(text)),
        "ngram_path": suitable_ngram_path(
            epochs, parameter_count(model), text_length(text), taught=taught
        ),
    }
    return replace(model, **{name: chosen.get(name, value) for name, value in suitable.items()})


def with_lr(config: TrainConfig, epochs: float, chosen: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of training with a suitable learning rate, unless it is among `chosen`.

    That of plain gradient descent depends on the scale of its gradients instead.
    """
    if config.optimizer == "sgd" or "lr" in chosen:
        return config
    return replace(config, lr=suitable_lr(config.steps, epochs))


def with_dropout(
    model: ModelConfig, epochs: float, length: int, chosen: Mapping[str, Any]
) -> ModelConfig:
    """Return a model's shape with dropout that suits the cell and the epochs, unless `chosen`.

    Args:
        model: The shape.
        epochs: Passes over the training text.
        length: Length of the training text; see `text_length`.
        chosen: Options that were given; with a `teacher`, there is less dropout.
    """
    taught = chosen.get("teacher") is not None
    ngram_dropout = suitable_ngram_dropout(epochs, taught=taught) if model.ngram_embedding else 0.0
    suitable = {
        "dropout": suitable_dropout(epochs, parameter_count(model), length, taught=taught),
        "ngram_dropout": ngram_dropout,
    }
    settings = suitable | cell_settings(model.cell) | dict(chosen)
    dropout, ngram_dropout = (float(settings[name]) for name in suitable)
    return replace(model, dropout=dropout, ngram_dropout=ngram_dropout)
