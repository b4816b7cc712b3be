"""How much of its state each layer keeps from one time step to the next, according to its gates."""

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
    """How much of its state a layer keeps at each time step, according to its gates.

    Attributes:
        mean: Mean over time steps and units, 0 to 1.
        slowest: Mean over time steps of the unit that keeps most, 0 to 1.
    """

    mean: float
    slowest: float

    def to_dict(self) -> dict[str, float | None]:
        """Return both, and the time constants that they imply, in time steps."""
        return vars(self) | {
            "time_constant": time_constant(self.mean),
            "slowest_time_constant": time_constant(self.slowest),
        }


def time_constant(keep: float) -> float | None:
    """Return the time steps after which a state that keeps this fraction at each falls to 1/e.

    The result is None if it keeps everything or nothing.
    """
    return -1 / math.log(keep) if 0 < keep < 1 else None


class RetentionWatch:
    """Records how much of its state each layer keeps while the model runs."""

    def __init__(self, model: CharRNN) -> None:
        layers, self.steps = list(model.layers), 0
        self.sums: list[Any] = [None] * len(layers)
        self.hooks = [
            layer.register_forward_pre_hook(self._hook(index)) for index, layer in enumerate(layers)
        ]

    def close(self) -> None:
        """Stop recording."""
        for hook in self.hooks:
            hook.remove()

    def means(self, rows: int) -> npt.NDArray[np.float64]:
        """Return the mean retention over the time steps, (rows, layers, hidden_size).

        For a cell without such a gate, the array is (rows, 0, 0).
        """
        means = [total / self.steps for total in self.sums if total is not None]
        return np.stack(means, axis=1) if means else np.zeros((rows, 0, 0))

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
    """Return the retention of each of `layers` layers from means (rows, layers, hidden_size)."""
    if not kept.size:
        return (None,) * layers
    return tuple(Retention(float(units.mean()), float(units.max())) for units in kept.mean(axis=0))
