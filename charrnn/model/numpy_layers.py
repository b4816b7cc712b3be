"""The parts of `charrnn.model.numpy_model`: layers, gates and attention, ready for use."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.schema import ModelConfig
from charrnn.model.cells import gate_activations
from charrnn.model.shapes import cell_shapes

Array = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[Any]]
State = tuple[Array, ...]

NORM_EPSILON = np.float32(1e-5)
HALF = np.float32(0.5)


@dataclass(frozen=True)
class Layer:
    """One layer's weights, ready for use.

    Attributes:
        inputs: Input matrix, (input_size, gates * hidden_size).
        recurrent: Recurrent matrix, (hidden_size, gates * hidden_size); None in a cell without one.
        bias: The biases that are added to the two products' sum, (gates * hidden_size,).
        split_bias: What is added to the recurrent product alone, (gates * hidden_size,).
        norm: Layer norm's weight and bias, (hidden_size,) each, or None.
        residual: Whether the layer's input is added to its output.
    """

    inputs: Array
    recurrent: Array | None
    bias: Array
    split_bias: Array
    norm: tuple[Array, Array] | None
    residual: bool

    def finish(self, outputs: Array, inputs: Array) -> Array:
        """Apply what follows the cell, residual connection and layer norm."""
        values = outputs + inputs if self.residual else outputs
        return values if self.norm is None else normalise(values, *self.norm)


def normalise(values: Array, weight: Array, bias: Array) -> Array:
    """Give each row of (batch, size) mean 0 and variance 1, then scale and shift it."""
    mean: Array = np.add.reduce(values, axis=1, keepdims=True)  # faster than np.mean
    mean /= values.shape[1]
    centred = values - mean
    variance: Array = np.add.reduce(centred * centred, axis=1, keepdims=True)
    variance /= values.shape[1]
    centred /= np.sqrt(variance + NORM_EPSILON)
    centred *= weight
    centred += bias
    return centred


@dataclass(frozen=True)
class GateRun:
    """Neighbouring gates to which the same is done, so that it is done at once.

    Attributes:
        kind: "squash" (a tanh, after which a sigmoid is scaled and shifted), "relu", "linear" or
            "split".
        columns: Where they stand in a product.
        scale: What a tanh is multiplied by, 0.5 for a sigmoid, (gates * hidden_size,).
        shift: What is then added to it.
        count: How many they are.
    """

    kind: str
    columns: slice
    scale: Array
    shift: Array
    count: int

    def values(self, sums: Array) -> list[Array]:
        """Return the gates, (batch, hidden_size) each, of summed products, which it may change."""
        if self.kind == "squash":
            sums = np.tanh(sums, out=sums) * self.scale + self.shift
        elif self.kind == "relu":
            np.maximum(sums, 0, out=sums)
        gates = sums.reshape(len(sums), self.count, -1)
        return [gates[:, number] for number in range(self.count)]


def gate_runs(config: ModelConfig) -> list[GateRun]:
    """Return the runs of a cell's gates, in their order; a split gate is one by itself."""
    runs, begin = list[GateRun](), 0
    for kind, group in groupby(enumerate(gate_activations(config)), _run_key):
        activations = [activation for _, activation in group]
        half = [0.5 if activation == "sigmoid" else 0.0 for activation in activations]
        shift = np.repeat(np.array(half, np.float32), config.hidden_size)
        columns = slice(begin, begin + len(shift))
        runs.append(GateRun(kind.split()[0], columns, 1 - shift, shift, len(activations)))
        begin = columns.stop
    return runs


def _run_key(gate: tuple[int, str]) -> str:
    number, activation = gate
    if activation in ("sigmoid", "tanh"):
        return "squash"
    return f"split {number}" if activation == "split" else activation


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
        """Attend from (batch, hidden_size) to `memory`, of which the last `count` states exist."""
        key, span = normalise(values, *self.norm), memory.shape[1]
        memory = np.concatenate([memory[:, 1:], key[:, None]], axis=1)
        count = np.minimum(count + 1, np.float32(span))
        scores = (memory @ (key @ self.query)[:, :, None])[:, :, 0]
        scores[np.arange(span) < span - count] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        return values + (weights[:, None] @ memory)[:, 0] @ self.output, (memory, count)


def prepare_layer(config: ModelConfig, weights: Weights, index: int) -> Layer:
    """Lay out the weights of one layer; `index` counts from the input."""
    kinds, prefix = gate_activations(config), f"layers.{index}."
    scale, split = (
        np.repeat(np.array([kind == wanted for kind in kinds], np.float32), config.hidden_size)
        for wanted in ("sigmoid", "split")
    )
    scale = 1 - HALF * scale
    names = [f"{prefix}cell.{name}" for name in cell_shapes(config, 1)]
    matrices = [single(weights[name].T) * scale for name in names if weights[name].ndim == 2]
    bias, *recurrent_bias = [
        single(weights[name]) * scale for name in names if weights[name].ndim == 1
    ]
    own = recurrent_bias[0] if recurrent_bias else np.zeros_like(bias)
    norm = [single(weights[f"{prefix}norm.{n}"]) for n in ("weight", "bias") if config.layer_norm]
    return Layer(
        inputs=matrices[0],
        recurrent=matrices[1] if len(matrices) > 1 else None,
        bias=bias + own * (1 - split),
        split_bias=own * split,
        norm=(norm[0], norm[1]) if norm else None,
        residual=config.residual and len(matrices[0]) == config.hidden_size,
    )


def prepare_attention(weights: Weights) -> Attention:
    """Lay out the weights of the attention."""
    query, output = (single(weights[f"attention.{n}.weight"].T) for n in ("query", "output"))
    query /= np.sqrt(np.float32(len(query)))
    weight, bias = (single(weights[f"attention.norm.{name}"]) for name in ("weight", "bias"))
    return Attention(query, output, (weight, bias))


def prepare_tail(weights: Weights, number: int) -> tuple[Array, Array, Array]:
    """Lay out the weights of a tail: its projection, its matrix and its bias."""
    project, weight, bias = (weights[f"tails.{number}.{n}"] for n in ("project", "weight", "bias"))
    return single(project.T), single(weight.T), single(bias)


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of the probabilities that each row of `logits` stands for."""
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def single(values: npt.NDArray[Any]) -> Array:
    """Return a contiguous float32 copy."""
    return np.array(values, np.float32, order="C")
