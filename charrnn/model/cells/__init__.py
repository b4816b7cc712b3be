"""Recurrent cells: `charrnn.config.cells` lists them, and each has a file of equations here.

A file of equations has a function `step(gates, state, xp)`: from the gates of one time step, whose
products are summed and whose activation functions are applied as the cell's entry says, and the state
before the step to the state after it. All are arrays (batch, hidden_size) of NumPy or of torch; `xp`
is the module that they belong to. Where a gate says how much of the old state a unit keeps, a second
function, `kept(gates, xp)`, returns that fraction.

The sampler runs `step` as it stands, and so does a training, unless `fast` has something better. So a
new cell is one entry and one file; what is fast for it can come later.
"""

from importlib import import_module
from typing import Any, Protocol

from charrnn.config.cells import CELLS
from charrnn.config.schema import ModelConfig

Arrays = tuple[Any, ...]


class Equations(Protocol):
    """What a file of equations has. `kept` may be missing: then no gate says how much is kept."""

    def step(self, gates: Arrays, state: Arrays, xp: Any) -> Arrays:
        """Return the state after a time step; its first array is the cell's output."""

    def kept(self, gates: Arrays, xp: Any) -> Any:
        """Return the fraction of its old state that each unit keeps, (batch, hidden_size)."""


def equations(cell: str) -> Equations:
    """Return the file of equations of a cell."""
    return import_module(f"charrnn.model.cells.{cell}")


def gate_activations(config: ModelConfig) -> tuple[str, ...]:
    """Return what is applied to each gate: sigmoid, tanh, relu, linear or split."""
    kinds = CELLS[config.cell].gates.values()
    return tuple(config.activation if kind == "activation" else kind for kind in kinds)


def sigmoid(values: Any, xp: Any) -> Any:
    """Return the logistic function, in a form that cannot overflow."""
    return xp.tanh(values * 0.5) * 0.5 + 0.5
