"""The network of `charrnn.model.network` in NumPy, for sampling, and as a check of the torch model.

A step of one stream is a few products of a vector and a matrix, so overhead could take most of its
time. Everything that does not depend on the text is therefore done once, when a model is loaded:

- matrices are transposed, so that a step is `row vector @ contiguous matrix`;
- biases that are only ever added up become one;
- the first layer's input product, of which there is one per symbol, becomes a table;
- weights of gates with a sigmoid are halved, since sigmoid(x) = (1 + tanh(x / 2)) / 2: one tanh can
  then compute sigmoids too, and it cannot overflow. Halving is exact in floating point.

All arrays are float32. Streams do not depend on each other, but a linear algebra library may round
products differently for another number of rows, so a stream computed alone and among others can
differ in the last bits.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.errors import UsageError
from charrnn.model.cells import equations
from charrnn.model.ngram_hash import ngram_rows
from charrnn.model.numpy_layers import (
    Array,
    State,
    Weights,
    cell_gates,
    float32_copy,
    gate_runs,
    log_softmax,
    prepare_attention,
    prepare_layer,
    prepare_tail,
)
from charrnn.model.numpy_matches import prepare_matches
from charrnn.model.shapes import SKIP, TABLES, cell_states, state_shapes, tails
from charrnn.model.source.numpy_source import NumpySource
from charrnn.tokenizers.base import Ids

# Callers check whether the logits are finite.
IGNORE_OVERFLOW = np.errstate(over="ignore", invalid="ignore")
NO_WEIGHTS = np.zeros((1, 0), np.float32)
TABLE_LIMIT = 1 << 25  # entries, 128 MB; rows of a larger table are computed when needed


class NumpyModel:
    """A trained recurrent language model for inference.

    Attributes:
        config: The shape of the network.
        start: The start symbol's id, `vocab_size`.
        source: What reads a record's source, if records have sources; see `begin`.
    """

    @IGNORE_OVERFLOW
    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        """Prepare `weights`, named and shaped as `charrnn.model.shapes.weight_shapes` says."""
        self.config = config
        self.start = config.vocab_size
        self._step_cell = equations(config.cell).step
        self._num_states = CELLS[config.cell].num_states
        self._runs = gate_runs(config)
        self._embedding = float32_copy(weights["embedding.weight"])
        self._ngrams = weights[TABLES] if config.ngram_embedding else None
        self._skip = float32_copy(weights[SKIP].T) if config.ngrams_to_output else None
        self._layers = [prepare_layer(config, weights, n) for n in range(config.num_layers)]
        head = weights["embedding.weight"][: self.start] if config.tied else weights["head_weight"]
        self._head, self._head_bias = float32_copy(head.T), float32_copy(weights["head_bias"])
        self._matches = prepare_matches(config, weights) if config.match_window else None
        self._attention = prepare_attention(weights) if config.attention else None
        self._tails = [prepare_tail(weights, number) for number in range(len(tails(config)))]
        self._fixed = len(state_shapes(config))
        self.source = NumpySource(config, weights) if config.source is not None else None
        first = self._layers[0]
        alone = not config.ngrams_to_input and not config.match_window
        small = len(self._embedding) * len(first.bias) <= TABLE_LIMIT
        self._table = self._embedding @ first.inputs + first.bias if alone and small else None

    @property
    def state_size(self) -> int:
        """Number of arrays of a state, the memory of a source included."""
        return self._fixed + (0 if self.source is None else self.source.memory_size)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: zeros.

        Raises:
            UsageError: What follows depends on a source; see `begin`.
        """
        if self.source is not None:
            hint = "Give one with `source`."
            raise UsageError("This model's texts depend on a source, and none is given.", hint)
        return self._zeros(batch)

    def _zeros(self, batch: int) -> State:
        return tuple(np.zeros((batch, *shape), np.float32) for shape in state_shapes(self.config))

    @IGNORE_OVERFLOW
    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read one symbol of each stream and predict the next.

        Args:
            ids: Symbols, (batch,), each in 0 .. vocab_size.
            state: What `initial_state` or an earlier step returned; left unchanged.

        Returns:
            Logits (batch, vocab_size) and the state after the step, both new arrays.
        """
        values, carried, _ = self._hidden(ids, state)
        return self._logits(values), carried

    @IGNORE_OVERFLOW
    def alignment(self, ids: Ids, state: State) -> Array:
        """Return how much each step attends to each state of the source.

        Args:
            ids: Input symbols of one stream, (time,).
            state: What `begin` returned.

        Returns:
            The weights, (time, length); of no length if there is no attention.
        """
        rows = []
        for symbol in ids:
            _, state, weights = self._hidden(np.array([symbol]), state)
            rows.append(weights)
        return np.concatenate(rows)

    def begin(self, values: npt.NDArray[Any]) -> State:
        """Return the state before the first symbol of one stream, for a source.

        Args:
            values: The source; see `NumpySource.read`.
        """
        assert self.source is not None
        first, memory = self.source.read(values)
        zeros = self._zeros(1)
        return (*first, *zeros[len(first) :], *memory)

    def _hidden(self, ids: Ids, state: State) -> tuple[Array, State, Array]:
        """Return the output layer's input, the new state, and the weights of the source."""
        memory, weights = state[self._fixed :], NO_WEIGHTS
        values, carried, codes = self._embedding[ids], (), ()  # type: Array, State, State
        if self._ngrams is not None:
            place = self._fixed - 1 - (self._matches is not None)
            recent = self._recent(state[place], ids)
            sums, codes = self._ngram_sums(recent.astype(np.int64)), (recent[:, 1:],)
            if self.config.ngrams_to_input:
                values = values + sums
        if self._matches is not None:
            recent = self._recent(state[self._fixed - 1], ids)
            to_input, to_output = self._matches.step(recent)
            codes += (recent[:, 1:],)
            values = values + to_input
        for index, layer in enumerate(self._layers):
            before = state[index * self._num_states : (index + 1) * self._num_states]
            product = self._input_product(index, ids, values)
            gates = cell_gates(layer, self._runs, product, before[0])
            after = self._step_cell(gates, before, np)
            values = layer.finish(after[0], values)
            if memory and not carried:
                assert self.source is not None
                values, weights = self.source.attend(values, memory)
            carried += after
        if self._attention is not None:
            end = cell_states(self.config)
            values, after = self._attention.step(values, *state[end : end + 2])
            carried += after
        if self._skip is not None:
            values = values + sums @ self._skip
        if self._matches is not None:
            values = values + to_output
        return values, (*carried, *codes, *memory), weights

    def _ngram_sums(self, codes: npt.NDArray[np.int64]) -> Array:
        """Return the sum of each stream's n-gram embeddings."""
        assert self._ngrams is not None
        rows = np.concatenate(list(ngram_rows(codes, self.config)), axis=1)
        sums: Array = self._ngrams[rows].sum(axis=1)
        return sums

    def _recent(self, codes: Array, ids: Ids) -> Array:
        """Return the codes of each stream's last symbols, those of `ids` included."""
        own = ((ids + 1) % (self.start + 1)).astype(np.float32)
        return np.concatenate([codes, own[:, None]], axis=1)

    def run(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Step through ids (batch, time).

        Returns:
            Every step's logits, (batch, time, vocab_size), and the last state.
        """
        logits = np.empty((*ids.shape, self.config.vocab_size), np.float32)
        for time in range(ids.shape[1]):
            logits[:, time], state = self.step(ids[:, time], state)
        return logits, state

    def _input_product(self, index: int, ids: Ids, values: Array) -> Array:
        """Return the input product of layer `index`, plus its bias, as a new array."""
        if index == 0 and self._table is not None:
            return self._table[ids]
        layer = self._layers[index]
        product = values @ layer.inputs
        product += layer.bias
        return product

    def _logits(self, values: Array) -> Array:
        """Apply the output layer to (batch, hidden_size)."""
        logits = values @ self._head
        logits += self._head_bias
        if not self._tails:
            return logits
        logits = log_softmax(logits)  # see charrnn.model.adaptive_softmax
        first = logits.shape[1] - len(self._tails)
        parts = [logits[:, :first]]
        for number, (project, weight, bias) in enumerate(self._tails):
            narrow: Array = values @ project
            inside: Array = narrow @ weight
            inside += bias
            parts.append(log_softmax(inside) + logits[:, first + number, None])
        return np.concatenate(parts, axis=1)
