"""How much of its old state each layer of a model keeps at each step, as its gates say."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN, Layer


@dataclass(frozen=True)
class Retention:
    """How much of its old state a layer keeps at each step, as its gates say.

    Attributes:
        mean: Mean over steps and units, 0 .. 1.
        slowest: Mean over steps of the unit that keeps most.
    """

    mean: float
    slowest: float

    def to_dict(self) -> dict[str, float | None]:
        """Return both, with the time constants that they imply, in steps."""
        return vars(self) | {
            "time_constant": time_constant(self.mean),
            "slowest_time_constant": time_constant(self.slowest),
        }


def time_constant(keep: float) -> float | None:
    """Return the steps in which a state that keeps this fraction at each falls to 1/e.

    None if it never does, or at once.
    """
    return -1 / math.log(keep) if 0 < keep < 1 else None


class RetentionWatch:
    """Sums up, while a model runs, how much of its state each of its layers keeps."""

    def __init__(self, model: CharRNN) -> None:
        layers, self.steps = list(model.layers), 0
        self.sums: list[Any] = [None] * len(layers)
        self.hooks = [
            layer.register_forward_pre_hook(self._hook(index)) for index, layer in enumerate(layers)
        ]

    def close(self) -> None:
        """Stop watching."""
        for hook in self.hooks:
            hook.remove()

    def means(self, rows: int) -> npt.NDArray[np.float64]:
        """Return what was kept on average over the steps, (rows, layers, hidden_size).

        There are no layers where no gate says how much is kept.
        """
        found = [total / self.steps for total in self.sums if total is not None]
        return np.stack(found, axis=1) if found else np.zeros((rows, 0, 0))

    def _hook(self, index: int) -> Any:
        @torch.no_grad()
        def watch(layer: nn.Module, arguments: tuple[Tensor, State]) -> None:
            assert isinstance(layer, Layer)
            inputs, state = arguments
            kept = layer.cell.kept(inputs[:, 0], state[0])
            self.steps += index == 0
            if kept is not None:
                total, now = self.sums[index], kept.double().cpu().numpy()
                self.sums[index] = now if total is None else total + now

        return watch


def retention_of(kept: npt.NDArray[np.float64], layers: int) -> tuple[Retention | None, ...]:
    """Sum up what `layers` layers kept, (rows, layers, hidden_size)."""
    if not kept.size:
        return (None,) * layers
    return tuple(Retention(float(units.mean()), float(units.max())) for units in kept.mean(axis=0))
