"""Recurrent cells: `charrnn.config.cells` lists them, and each has a module of equations here.

A module of equations has a function `step(gates, state, xp)`, which computes the state after a time
step from the step's gates and the state before it. The gates come with their products summed and
their activation functions applied, as the cell's entry says. All are arrays (batch, hidden_size) of
NumPy or torch; `xp` is the module that they belong to. If a gate tells how much of its old state a
unit keeps, a second function, `kept(gates, xp)`, returns that fraction.

The sampler runs `step` itself, and so does training, unless `fast` has a faster form. A new cell
therefore takes one entry and one module; a fast form can be added later.
"""

from importlib import import_module
from typing import Any, Protocol

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig

Arrays = tuple[Any, ...]


class Equations(Protocol):
    """What a module of equations has; `kept` is optional."""

    def step(self, gates: Arrays, state: Arrays, xp: Any) -> Arrays:
        """Return the state after a time step; its first array is the cell's output."""

    def kept(self, gates: Arrays, xp: Any) -> Any:
        """Return the fraction of its state that each unit keeps, (batch, hidden_size)."""


def equations(cell: str) -> Equations:
    """Return the module of a cell's equations."""
    return import_module(f"charrnn.model.cells.{cell}")


def gate_activations(config: ModelConfig) -> tuple[str, ...]:
    """Return what is applied to each gate: sigmoid, tanh, relu, linear or split (`CellSpec`)."""
    kinds = CELLS[config.cell].gates.values()
    return tuple(config.activation if kind == "activation" else kind for kind in kinds)


def sigmoid(values: Any, xp: Any) -> Any:
    """Return the logistic function, in a form that cannot overflow."""
    return xp.tanh(values * 0.5) * 0.5 + 0.5
