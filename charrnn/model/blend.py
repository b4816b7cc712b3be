"""Several models as one: a weighted mean of their predictions at each step.

A blend has its members' states side by side, in one flat tuple, and costs what they cost together.
Its symbols are the union of theirs (see `charrnn.tokenizers.union`).

    Jacobs et al. 1991, mixtures of experts          (linear: the mean of probabilities)
    Hinton 2002, products of experts                 (geometric: the mean of log probabilities)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model.numpy_layers import Array, State, log_softmax
from charrnn.model.numpy_model import NumpyModel
from charrnn.tokenizers.base import Ids
from charrnn.tokenizers.union import SymbolMap


@dataclass(frozen=True)
class Mixing:
    """How predictions are mixed.

    Attributes:
        weights: The members' weights, each above 0; their sum is 1.
        rule: "linear" for the mean of probabilities, "geometric" for that of log probabilities.
    """

    weights: tuple[float, ...]
    rule: str = "linear"

    def mix(self, predictions: Sequence[Any], xp: Any) -> Any:
        """Return the log probabilities of the blend.

        Args:
            predictions: Each member's log probabilities, (..., size), normalised.
            xp: The arrays' module, numpy or torch.
        """
        both = zip(predictions, self.weights, strict=True)
        if self.rule == "linear":  # normalised, since the weights add up to 1
            return reduce(xp.logaddexp, (one + log(weight) for one, weight in both))
        means = reduce(xp.add, (one * weight for one, weight in both))
        means = means - xp.amax(means, axis=-1, keepdims=True)
        return means - xp.log(xp.exp(means).sum(axis=-1, keepdims=True))


def split_state(state: Sequence[Any], sizes: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Yield each member's part of a blend's state; `sizes` are the numbers of their arrays."""
    begin = 0
    for size in sizes:
        yield tuple(state[begin : begin + size])
        begin += size


class Blend:
    """Several models in NumPy as one: what sampling needs of a model.

    Attributes:
        start: The start symbol's id: the size of the union of the vocabularies.

    Args:
        members: The models; they have sources of one kind, or none.
        maps: How the symbols of each stand for the union's; None where they are the union's.
        mixing: How their predictions are mixed.
        size: Size of the union of the vocabularies.
    """

    def __init__(
        self,
        members: Sequence[NumpyModel],
        maps: Sequence[SymbolMap | None],
        mixing: Mixing,
        size: int,
    ) -> None:
        self.members, self.maps, self.mixing, self.start = members, maps, mixing, size
        self._sizes = [one.state_size for one in members]

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: the members' states, one after the other."""
        return tuple(array for one in self.members for array in one.initial_state(batch))

    def begin(self, values: NDArray[Any]) -> State:
        """Return the state before the first symbol, for a source; see `NumpyModel.begin`."""
        return tuple(array for one in self.members for array in one.begin(values))

    def alignment(self, ids: Ids, state: State) -> Array:
        """Return the weighted mean of the members' attention; see `NumpyModel.alignment`.

        Members without attention are left out.
        """
        parts = split_state(state, self._sizes)
        every = zip(self.members, self.maps, parts, self.mixing.weights, strict=True)
        found = [
            (one.alignment(ids if own is None else own.inputs[ids], part) * weight, weight)
            for one, own, part, weight in every
            if one.source is not None and one.source.memory_size
        ]
        return np.asarray(sum(rows for rows, _ in found) / sum(weight for _, weight in found))

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read one symbol of each stream and predict the next; see `NumpyModel.step`.

        Returns:
            Log probabilities (batch, size) and the state after the step, both new arrays.
        """
        predictions, carried = list[Array](), ()  # type: list[Array], State
        parts = split_state(state, self._sizes)
        for member, symbols, part in zip(self.members, self.maps, parts, strict=True):
            logits, after = member.step(ids if symbols is None else symbols.inputs[ids], part)
            predicted = log_softmax(logits)
            if symbols is not None:
                predicted = predicted[:, symbols.outputs] + symbols.log_shares
            predictions.append(predicted)
            carried += after
        return self.mixing.mix(predictions, np), carried
