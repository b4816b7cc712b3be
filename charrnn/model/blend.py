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

from charrnn.model.numpy_layers import Array, State, log_softmax
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import state_shapes
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
        members: The models, without sources.
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
        self._sizes = [len(state_shapes(one.config)) for one in members]

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: the members' states, one after the other."""
        return tuple(array for one in self.members for array in one.initial_state(batch))

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
