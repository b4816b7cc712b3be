"""The complete settings of a run. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn.config.presets import cell_settings, suitable_dropout
from charrnn.config.schema import ModelConfig, TrainConfig
from charrnn.data.encoding import Encoded
from charrnn.model.shapes import parameter_count


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The complete settings of a run.

    Attributes:
        model: The shape of the network.
        train: How it is trained.
        precision: What `train.precision` comes to on this machine.
        epochs: Passes over the training text.
    """

    model: ModelConfig
    train: TrainConfig
    precision: str
    epochs: float

    def with_steps(self, steps: int, length: int, chosen: Mapping[str, Any]) -> "Plan":
        """Return the plan for another number of steps, with the dropout that suits so many epochs.

        Args:
            steps: Of the whole run.
            length: Of the training text, see `length_of`.
            chosen: Settings that were asked for, which stay.
        """
        epochs = self.epochs * steps / self.train.steps
        dropout = dropout_for(epochs, self.model, length, chosen)
        model, train = replace(self.model, dropout=dropout), replace(self.train, steps=steps)
        return replace(self, model=model, train=train, epochs=epochs)


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        device: Where it computes on this machine, for a person.
        memory_bytes: Of weights, optimizer, training and scoring; None if the run is under way.
        seconds: Of the training, evaluations included; None if nothing was measured.
    """

    device: str
    memory_bytes: int | None = None
    seconds: float | None = None


def length_of(train: Encoded) -> int:
    """Return a text's length as presets mean it: in characters, or bytes where these are symbols."""
    return max(train.characters, len(train.ids))


def dropout_for(epochs: float, model: ModelConfig, length: int, chosen: Mapping[str, Any]) -> float:
    """Return the dropout that was chosen, or else suits the cell and a number of epochs."""
    suitable = {"dropout": suitable_dropout(epochs, parameter_count(model), length)}
    return float((suitable | cell_settings(model.cell) | dict(chosen))["dropout"])
