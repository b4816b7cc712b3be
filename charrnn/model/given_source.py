"""A model, or a blend of several, for one source: what sampling needs of a model."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.model.blend import Blend
from charrnn.model.numpy_layers import Array, State
from charrnn.model.numpy_model import NumpyModel
from charrnn.tokenizers.base import Ids


@dataclass(frozen=True)
class GivenSource:
    """A model whose records have a given source.

    Attributes:
        model: The model.
        first: The state before the first symbol of one stream.
    """

    model: NumpyModel | Blend
    first: State

    @classmethod
    def of(cls, model: NumpyModel | Blend, values: NDArray[Any]) -> Self:
        """Return a model for one source; see `charrnn.model.source.numpy_source`."""
        return cls(model, model.begin(values))

    @property
    def start(self) -> int:
        """The start symbol's id."""
        return self.model.start

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol of each of `batch` streams."""
        return tuple(np.repeat(part, batch, axis=0) for part in self.first)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read one symbol of each stream and predict the next; see `NumpyModel.step`."""
        return self.model.step(ids, state)

    def alignment(self, ids: Ids) -> Array:
        """Return how much each step attends to each state of the source; see `NumpyModel`."""
        return self.model.alignment(ids, self.first)
