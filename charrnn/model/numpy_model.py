"""The network of `charrnn.model.network` in plain NumPy, for inference.

The CPU's sampler, and the tests' independent check.

A step of one stream is a few products of a vector with a matrix, so nearly all of its time could go
to preparations. Everything that does not depend on the text is therefore done once, when the model
is made:

- matrices are transposed, so that a step is `row vector @ contiguous matrix`;
- biases that are only ever added up become one;
- the first layer's input product, of which there is one per symbol, becomes the rows of a table;
- what a sigmoid will be applied to is halved, since sigmoid(x) = (1 + tanh(x / 2)) / 2: one tanh
  then serves all gates of a cell, and it cannot overflow. Halving is exact in floating point.

All arrays are float32. Streams do not depend on each other, but a linear algebra library may round
a product differently for another number of rows, so that a stream alone and among others can differ
in the last bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.schema import ModelConfig
from charrnn.model.shapes import NUM_STATES, cell_shapes, state_shapes, tails

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.integer[Any]]
State = tuple[Array, ...]

NORM_EPSILON = np.float32(1e-5)
HALF = np.float32(0.5)
QUIETLY = np.errstate(
    over="ignore", invalid="ignore"
)  # who uses the logits sees that they are not finite
TABLE_LIMIT = (
    1 << 25
)  # numbers, so 128 MB: where a table would be larger, its rows are computed as they are needed


@dataclass(frozen=True)
class Layer:
    """One layer's weights, ready for use.

    Attributes:
        inputs: Input matrix, (input_size, gates * hidden_size).
        recurrent: Recurrent matrix, (hidden_size, gates * hidden_size); empty in a cell that has
            none.
        bias: The biases that are added to the two products' sum, (gates * hidden_size,).
        candidate_bias: The gru's bias inside the reset gate, (hidden_size,); zeros in other cells.
        norm: Layer norm's weight and bias, (hidden_size,) each, or None.
        residual: Whether the layer's input is added to its output.
    """

    inputs: Array
    recurrent: Array
    bias: Array
    candidate_bias: Array
    norm: tuple[Array, Array] | None
    residual: bool

    def finish(self, outputs: Array, inputs: Array) -> Array:
        """Apply what follows the cell, residual connection and layer norm, to (batch, hidden_size)."""
        values = outputs + inputs if self.residual else outputs
        return values if self.norm is None else normalise(values, *self.norm)


def normalise(values: Array, weight: Array, bias: Array) -> Array:
    """Give each row of (batch, size) mean 0 and variance 1, then scale and shift it."""
    mean: Array = np.add.reduce(
        values, axis=1, keepdims=True
    )  # a reduction alone is faster than np.mean
    mean /= values.shape[1]
    centred = values - mean
    variance: Array = np.add.reduce(centred * centred, axis=1, keepdims=True)
    variance /= values.shape[1]
    centred /= np.sqrt(variance + NORM_EPSILON)
    centred *= weight
    centred += bias
    return centred


# A cell maps a layer, its input's product with the input matrix plus `bias`, and the state before
# the step to the state after it, whose first array is the output. It may overwrite the product.
# Equations: `charrnn.model.cells`.


def rnn_tanh(layer: Layer, product: Array, state: State) -> State:
    """Step the Elman cell with tanh."""
    product += state[0] @ layer.recurrent
    return (np.tanh(product, out=product),)


def rnn_relu(layer: Layer, product: Array, state: State) -> State:
    """Step the Elman cell with relu."""
    product += state[0] @ layer.recurrent
    return (np.maximum(product, 0, out=product),)


def rnn_sigmoid(layer: Layer, product: Array, state: State) -> State:
    """Step the Elman cell with sigmoid."""
    product += state[0] @ layer.recurrent
    return (np.tanh(product, out=product) * HALF + HALF,)


def gru(layer: Layer, product: Array, state: State) -> State:
    """Step the gated recurrent unit: gates r, z, n."""
    (hidden,) = state
    size = hidden.shape[1]
    recurrent = hidden @ layer.recurrent
    gates = np.tanh(product[:, : 2 * size] + recurrent[:, : 2 * size]) * HALF + HALF
    reset, update = gates[:, :size], gates[:, size:]
    candidate = np.tanh(
        product[:, 2 * size :] + reset * (recurrent[:, 2 * size :] + layer.candidate_bias)
    )
    return (candidate + update * (hidden - candidate),)


def lstm(layer: Layer, product: Array, state: State) -> State:
    """Step the long short-term memory: gates i, f, g, o."""
    hidden, memory = state
    product += hidden @ layer.recurrent
    squashed = np.tanh(product, out=product).reshape(len(hidden), 4, -1)
    gates = squashed * HALF + HALF  # of g too, where it is not used: one block is faster than three
    memory = gates[:, 1] * memory + gates[:, 0] * squashed[:, 2]
    return gates[:, 3] * np.tanh(memory), memory


def mingru(layer: Layer, product: Array, state: State) -> State:
    """Step the minGRU: gates z, n."""
    (hidden,) = state
    size = hidden.shape[1]
    update = np.tanh(product[:, :size]) * HALF + HALF
    return (hidden + update * (product[:, size:] - hidden),)


def minlstm(layer: Layer, product: Array, state: State) -> State:
    """Step the minLSTM: gates f, i, g."""
    (hidden,) = state
    size = hidden.shape[1]
    forget, enter, candidate = (
        product[:, :size],
        product[:, size : 2 * size],
        product[:, 2 * size :],
    )
    odds = np.logaddexp(0, -forget) - np.logaddexp(
        0, -enter
    )  # of i against f, as a logarithm: always finite
    update = np.tanh(odds * HALF) * HALF + HALF
    return (hidden + update * (candidate - hidden),)


CELLS: dict[str, Callable[[Layer, Array, State], State]] = {
    "rnn tanh": rnn_tanh,
    "rnn relu": rnn_relu,
    "rnn sigmoid": rnn_sigmoid,
    "gru": gru,
    "lstm": lstm,
    "mingru": mingru,
    "minlstm": minlstm,
}
# By what each gate's block is multiplied beforehand: a half where a sigmoid follows.
SCALES = {
    "rnn tanh": (1.0,),
    "rnn relu": (1.0,),
    "rnn sigmoid": (0.5,),
    "gru": (0.5, 0.5, 1.0),
    "lstm": (0.5, 0.5, 1.0, 0.5),
    "mingru": (0.5, 1.0),
    "minlstm": (1.0, 1.0, 1.0),
}


def cell_name(config: ModelConfig) -> str:
    """Return the key of a configuration's cell in the two tables above."""
    return f"rnn {config.activation}" if config.cell == "rnn" else config.cell


@dataclass(frozen=True)
class Attention:
    """The weights of `charrnn.model.attention`, ready for use.

    One product serves all streams and all remembered states.

    Attributes:
        query: Matrix, (hidden_size, hidden_size), divided by the root of hidden_size.
        output: Matrix, (hidden_size, hidden_size).
        norm: Layer norm's weight and bias, (hidden_size,) each.
    """

    query: Array
    output: Array
    norm: tuple[Array, Array]

    def step(self, values: Array, memory: Array, count: Array) -> tuple[Array, State]:
        """Let (batch, hidden_size) look back to `memory`, whose last `count` states are there, and be remembered."""
        noted, span = normalise(values, *self.norm), memory.shape[1]
        memory = np.concatenate([memory[:, 1:], noted[:, None]], axis=1)
        count = np.minimum(count + 1, np.float32(span))
        scores = (memory @ (noted @ self.query)[:, :, None])[:, :, 0]
        scores[np.arange(span) < span - count] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= np.add.reduce(shares, axis=1, keepdims=True)
        return values + (shares[:, None] @ memory)[:, 0] @ self.output, (memory, count)


class NumpyModel:
    """A trained recurrent language model that only predicts.

    Attributes:
        config: The shape of the network.
        start: The id that stands before the first symbol of a text.
    """

    @QUIETLY
    def __init__(self, config: ModelConfig, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Prepare `weights`, named and shaped as `charrnn.model.shapes.weight_shapes` says."""
        self.config = config
        self.start = config.vocab_size
        self._cell = CELLS[cell_name(config)]
        self._embedding = single(weights["embedding.weight"])
        self._layers = [prepare_layer(config, weights, index) for index in range(config.num_layers)]
        head = weights["embedding.weight"][: self.start] if config.tied else weights["head_weight"]
        self._head, self._head_bias = single(head.T), single(weights["head_bias"])
        self._attention = prepare_attention(weights) if config.attention else None
        names = [f"tails.{number}." for number in range(len(tails(config)))]
        self._tails = [
            (
                single(weights[n + "project"].T),
                single(weights[n + "weight"].T),
                single(weights[n + "bias"]),
            )
            for n in names
        ]
        first = self._layers[0]
        small = len(self._embedding) * len(first.bias) <= TABLE_LIMIT
        self._table = self._embedding @ first.inputs + first.bias if small else None

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol.

        Zeros, of the shapes that `charrnn.model.shapes.state_shapes` gives.
        """
        return tuple(np.zeros((batch, *shape), np.float32) for shape in state_shapes(self.config))

    @QUIETLY
    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read one symbol of each stream and predict the next.

        Args:
            ids: Symbols, (batch,), each in 0 .. vocab_size.
            state: What `initial_state` or an earlier step returned; it is not changed.

        Returns:
            Logits (batch, vocab_size) and the state after the step, both new arrays.
        """
        values, carried = self._embedding[ids], ()  # type: tuple[Array, State]
        for index, layer in enumerate(self._layers):
            product = self._product(index, ids, values)
            layer_state = self._cell(layer, product, self._part(state, index))
            values = layer.finish(layer_state[0], values)
            carried += layer_state
        if self._attention is not None:
            values, memory = self._attention.step(values, state[-2], state[-1])
            carried += memory
        return self._logits(values), carried

    def run(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Step through (batch, time) ids.

        Return every step's logits (batch, time, vocab_size) and the last state.
        """
        logits = np.empty((*ids.shape, self.config.vocab_size), np.float32)
        for time in range(ids.shape[1]):
            logits[:, time], state = self.step(ids[:, time], state)
        return logits, state

    def _logits(self, values: Array) -> Array:
        """Apply the output layer to (batch, hidden_size).

        An adaptive softmax is that of `charrnn.model.adaptive_softmax`.
        """
        logits = values @ self._head
        logits += self._head_bias
        if not self._tails:
            return logits
        logits = log_softmax(logits)
        first = logits.shape[1] - len(self._tails)
        parts = [logits[:, :first]]
        for number, (project, weight, bias) in enumerate(self._tails):
            narrow: Array = values @ project
            inside: Array = narrow @ weight
            inside += bias
            parts.append(log_softmax(inside) + logits[:, first + number, None])
        return np.concatenate(parts, axis=1)

    def _product(self, index: int, ids: Ids, values: Array) -> Array:
        """Return layer `index`'s input times its input matrix, plus bias, in a new array."""
        if index == 0 and self._table is not None:
            return self._table[ids]
        layer = self._layers[index]
        product = values @ layer.inputs
        product += layer.bias
        return product

    def _part(self, state: State, index: int) -> State:
        """Return layer `index`'s part of the model's state."""
        size = NUM_STATES[self.config.cell]
        return state[index * size : (index + 1) * size]


def prepare_layer(
    config: ModelConfig, weights: Mapping[str, npt.NDArray[Any]], index: int
) -> Layer:
    """Lay out the weights of one layer; `index` counts from the input."""
    hidden, prefix = config.hidden_size, f"layers.{index}."
    scale = np.repeat(np.array(SCALES[cell_name(config)], np.float32), hidden)
    names = [f"{prefix}cell.{name}" for name in cell_shapes(config, 1)]
    matrices = [single(weights[name].T) * scale for name in names if weights[name].ndim == 2]
    biases = [single(weights[name]) * scale for name in names if weights[name].ndim == 1]
    candidate_bias = np.zeros(hidden, np.float32)
    if config.cell == "gru":
        candidate_bias = biases[1][2 * hidden :].copy()
        biases[1][2 * hidden :] = 0
    return Layer(
        inputs=matrices[0],
        recurrent=matrices[1] if len(matrices) > 1 else np.empty((0, 0), np.float32),
        bias=np.add.reduce(biases),
        candidate_bias=candidate_bias,
        norm=(single(weights[prefix + "norm.weight"]), single(weights[prefix + "norm.bias"]))
        if config.layer_norm
        else None,
        residual=config.residual and len(matrices[0]) == hidden,
    )


def prepare_attention(weights: Mapping[str, npt.NDArray[Any]]) -> Attention:
    """Lay out the weights of the attention."""
    query, output = (single(weights[f"attention.{name}.weight"].T) for name in ("query", "output"))
    query /= np.sqrt(np.float32(len(query)))
    return Attention(
        query,
        output,
        (single(weights["attention.norm.weight"]), single(weights["attention.norm.bias"])),
    )


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of the probabilities that each row of `logits` stands for."""
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def single(values: npt.NDArray[Any]) -> Array:
    """Return a contiguous float32 copy."""
    return np.array(values, np.float32, order="C")
