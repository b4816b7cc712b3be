"""The parts of `charrnn.model.numpy_model`: layers, gates and attention, prepared for inference."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.model import ModelConfig
from charrnn.model.cells import gate_activations
from charrnn.model.cells.shapes import cell_shapes

Array = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[Any]]
State = tuple[Array, ...]

NORM_EPSILON = np.float32(1e-5)
HALF = np.float32(0.5)


@dataclass(frozen=True)
class Layer:
    """One layer's weights, prepared for inference.

    Attributes:
        inputs: Input matrix, (input_size, gates * hidden_size).
        recurrent: Recurrent matrix, (hidden_size, gates * hidden_size); None in a cell without one.
        bias: Sum of the biases added to the sum of both products, (gates * hidden_size,).
        split_bias: Bias added to the recurrent product alone, (gates * hidden_size,).
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
        """Apply what follows the cell: the residual connection and layer norm."""
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
    """Neighbouring gates that are computed by one operation.

    Attributes:
        kind: "tanh" (also for sigmoids, which are a scaled and shifted tanh), "relu", "linear" or
            "split".
        columns: Their columns in a product.
        scale: Factor of the tanh, 0.5 for a sigmoid, else 1, (gates * hidden_size,).
        shift: What is added to that, 0.5 for a sigmoid, else 0, (gates * hidden_size,).
        count: Number of gates.
    """

    kind: str
    columns: slice
    scale: Array
    shift: Array
    count: int

    def values(self, sums: Array) -> list[Array]:
        """Return the gates, (batch, hidden_size) each; the summed products may be overwritten."""
        if self.kind == "tanh":
            sums = np.tanh(sums, out=sums) * self.scale + self.shift
        elif self.kind == "relu":
            np.maximum(sums, 0, out=sums)
        gates = sums.reshape(len(sums), self.count, -1)
        return [gates[:, number] for number in range(self.count)]


def gate_runs(config: ModelConfig) -> list[GateRun]:
    """Return the runs of a cell's gates, in their order; a split gate is a run of its own."""
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
        return "tanh"
    return f"split {number}" if activation == "split" else activation


@dataclass(frozen=True)
class Attention:
    """The weights of `charrnn.model.attention`, prepared for inference.

    Attributes:
        query: Matrix, (hidden_size, hidden_size), divided by the square root of hidden_size.
        output: Matrix, (hidden_size, hidden_size).
        norm: Layer norm's weight and bias, (hidden_size,) each.
    """

    query: Array
    output: Array
    norm: tuple[Array, Array]

    def step(self, values: Array, memory: Array, count: Array) -> tuple[Array, State]:
        """Attend from (batch, hidden_size) to `memory`, of which the last `count` states exist.

        Args:
            values: The top layer's output, (batch, hidden_size).
            memory: The remembered states, (batch, span, hidden_size).
            count: How many of them exist, (batch, 1).

        Returns:
            Outputs (batch, hidden_size), and the new memory and count.
        """
        key, span = normalise(values, *self.norm), memory.shape[1]
        memory = np.concatenate([memory[:, 1:], key[:, None]], axis=1)
        count = np.minimum(count + 1, np.float32(span))
        scores = (memory @ (key @ self.query)[:, :, None])[:, :, 0]
        scores[np.arange(span) < span - count] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        return values + (weights[:, None] @ memory)[:, 0] @ self.output, (memory, count)


def prepare_layer(config: ModelConfig, weights: Weights, index: int) -> Layer:
    """Prepare the weights of one layer; `index` counts from the input."""
    kinds, prefix = gate_activations(config), f"layers.{index}."
    scale, split = (
        np.repeat(np.array([kind == wanted for kind in kinds], np.float32), config.hidden_size)
        for wanted in ("sigmoid", "split")
    )
    scale = 1 - HALF * scale
    names = [f"{prefix}cell.{name}" for name in cell_shapes(config, 1)]
    matrices = [float32_copy(weights[name].T) * scale for name in names if weights[name].ndim == 2]
    bias, *recurrent_bias = [
        float32_copy(weights[name]) * scale for name in names if weights[name].ndim == 1
    ]
    own = recurrent_bias[0] if recurrent_bias else np.zeros_like(bias)
    norms = [f"{prefix}norm.{name}" for name in ("weight", "bias") if config.layer_norm]
    norm = [float32_copy(weights[name]) for name in norms]
    return Layer(
        inputs=matrices[0],
        recurrent=matrices[1] if len(matrices) > 1 else None,
        bias=bias + own * (1 - split),
        split_bias=own * split,
        norm=(norm[0], norm[1]) if norm else None,
        residual=config.residual and len(matrices[0]) == config.hidden_size,
    )


def cell_gates(layer: Layer, runs: list[GateRun], product: Array, hidden: Array) -> tuple[Any, ...]:
    """Return a layer's gates, as its cell's equations expect them.

    Args:
        layer: The layer.
        runs: What `gate_runs` returned for its cell.
        product: Its input product plus bias, (batch, gates * hidden_size); overwritten.
        hidden: The cell's output at the step before, (batch, hidden_size).
    """
    recurrent = None if layer.recurrent is None else hidden @ layer.recurrent
    gates: list[Any] = []
    for run in runs:
        own = product[:, run.columns]
        if run.kind == "split" and recurrent is not None:
            gates.append((own, recurrent[:, run.columns] + layer.split_bias[run.columns]))
            continue
        if recurrent is not None:
            own += recurrent[:, run.columns]
        gates += run.values(own)
    return tuple(gates)


def prepare_attention(weights: Weights) -> Attention:
    """Prepare the weights of the attention."""
    query, output = (float32_copy(weights[f"attention.{n}.weight"].T) for n in ("query", "output"))
    query /= np.sqrt(np.float32(len(query)))
    weight, bias = (float32_copy(weights[f"attention.norm.{name}"]) for name in ("weight", "bias"))
    return Attention(query, output, (weight, bias))


def prepare_tail(weights: Weights, number: int) -> tuple[Array, Array, Array]:
    """Prepare the weights of a tail: its projection, matrix and bias."""
    project, weight, bias = (weights[f"tails.{number}.{n}"] for n in ("project", "weight", "bias"))
    return float32_copy(project.T), float32_copy(weight.T), float32_copy(bias)


def log_softmax(logits: Array) -> Array:
    """Return the log probabilities of each row of `logits`."""
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def float32_copy(values: npt.NDArray[Any]) -> Array:
    """Return a C-contiguous float32 copy."""
    return np.array(values, np.float32, order="C")
