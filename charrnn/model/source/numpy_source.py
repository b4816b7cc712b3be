"""The network that reads a source, in NumPy: the same as `encoders` and `network`, for sampling.

Sources are read one at a time, so that nothing is padded.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.model.cells import equations
from charrnn.model.numpy_layers import (
    Array,
    Layer,
    State,
    Weights,
    cell_gates,
    float32_copy,
    gate_runs,
    normalise,
    prepare_layer,
)
from charrnn.model.source.shapes import KERNEL, encoder_config, grids

PREFIX = "source."


class Encoding(NamedTuple):
    """States (length, size) of one source, and their summary (size,)."""

    states: Array
    summary: Array


class NumpySource:
    """What reads a source, and attends to it.

    Args:
        config: The model's configuration.
        weights: The model's weights, those of the source among them.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        assert config.source is not None
        self.config, self.source = config, config.source
        self._weights = {
            name.removeprefix(PREFIX): float32_copy(value)
            for name, value in weights.items()
            if name.startswith(PREFIX)
        }
        self._arrays = config.num_layers * CELLS[config.cell].num_states
        self._query = self._weights.get("attention.query.weight", np.zeros((0, 0), np.float32)).T
        self._query = float32_copy(self._query)
        self._score = self._weights.get("attention.score")
        self._directions = self._prepared() if self.source.source == "text" else {}

    @property
    def memory_size(self) -> int:
        """Number of arrays of the attention's memory."""
        return 0 if self.source.source_attention == "none" else 2

    def _prepared(self) -> dict[tuple[int, int], Layer]:
        """Return the recurrent layers of a text source, by layer and direction."""
        own, found = without_norm(encoder_config(self.config)), dict[tuple[int, int], Layer]()
        for layer in range(own.num_layers):
            for direction in range(2 if self.source.bidirectional else 1):
                prefix = f"encoder.layers.{layer}.directions.{direction}."
                weights = {
                    name.replace(prefix, "layers.0.cell."): value
                    for name, value in self._weights.items()
                    if name.startswith(prefix)
                }
                found[layer, direction] = prepare_layer(own, weights, 0)
        return found

    def read(self, values: npt.NDArray[Any]) -> tuple[State, State]:
        """Read one source.

        Args:
            values: Its symbols (length,), a label as probabilities (labels,), its pixels
                (height, width, 3), or its features (length, size).

        Returns:
            The first state of the decoder's layers, and the attention's memory, of one stream.
        """
        found = self._encode(values)
        first = np.tanh(self._linear("first_state", found.summary[None]))
        states = tuple(np.split(first, self._arrays, axis=1))
        if not self.memory_size:
            return states, ()
        keys = self._linear("attention.key", found.states)
        content = found.states @ self._weights["attention.value.weight"].T
        return states, (keys[None], content[None])

    def attend(self, values: Array, memory: State) -> tuple[Array, Array]:
        """Add what attention finds to (batch, hidden_size), and return its weights, too."""
        keys, content = memory
        scores = self._scores((values @ self._query)[:, None], keys)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        return values + (weights[:, None] @ content)[:, 0], weights

    def _scores(self, queries: Array, keys: Array) -> Array:
        """Return how well each key (batch, length, size) suits its query (batch, 1, size)."""
        if self._score is not None:
            scores: Array = np.tanh(queries + keys) @ self._score
            return scores
        scores = (keys @ queries.transpose(0, 2, 1))[:, :, 0]
        scores /= np.sqrt(np.float32(keys.shape[2]))
        return scores

    def _linear(self, name: str, values: Array) -> Array:
        product: Array = values @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _norm(self, name: str, values: Array) -> Array:
        return normalise(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _encode(self, values: npt.NDArray[Any]) -> Encoding:
        if self.source.source == "text":
            return self._text(values)
        if self.source.source == "label":
            states = values[None].astype(np.float32) @ self._weights["encoder.embedding.weight"]
            return Encoding(states, states[0])
        if self.source.feature_size is not None:
            states = self._norm("encoder.norm", values.astype(np.float32))
        else:
            states = self._picture(values)
        return Encoding(states, states.mean(axis=0))

    def _text(self, ids: npt.NDArray[Any]) -> Encoding:
        states: Array = self._weights["encoder.embedding.weight"][ids]
        own = encoder_config(self.config)
        for layer in range(own.num_layers):
            parts = [run_cell(own, self._directions[layer, 0], states)]
            if self.source.bidirectional:
                parts.append(run_cell(own, self._directions[layer, 1], states[::-1])[::-1])
            if own.layer_norm:
                norm = f"encoder.layers.{layer}.norms"
                parts = [self._norm(f"{norm}.{n}", part) for n, part in enumerate(parts)]
            states = np.concatenate(parts, axis=1)
        size = own.hidden_size
        return Encoding(states, np.concatenate([states[-1, :size], states[0, size:]]))

    def _picture(self, pixels: npt.NDArray[Any]) -> Array:
        """Return the states of a picture's cells, (cells, channels)."""
        values = pixels.astype(np.float32) / np.float32(127.5) - 1
        for layer in range(len(grids(self.source))):
            weight = self._weights[f"encoder.layers.{layer}.weight"]
            values = convolve(values, weight) + self._weights[f"encoder.layers.{layer}.bias"]
            np.maximum(values, 0, out=values)
        cells = values.reshape(-1, values.shape[-1])
        return self._norm("encoder.norm", cells + self._weights["encoder.position"])


def run_cell(config: ModelConfig, layer: Layer, inputs: Array) -> Array:
    """Run a recurrent layer over (length, input_size), and return its outputs."""
    runs, step = gate_runs(config), equations(config.cell).step
    products = inputs @ layer.inputs + layer.bias
    zeros = np.zeros((1, config.hidden_size), np.float32)
    state: State = (zeros,) * CELLS[config.cell].num_states
    outputs = np.empty((len(inputs), config.hidden_size), np.float32)
    for time in range(len(inputs)):
        gates = cell_gates(layer, runs, products[time : time + 1], state[0])
        state = step(gates, state, np)
        outputs[time] = state[0][0]
    return outputs


def without_norm(config: ModelConfig) -> ModelConfig:
    """Return a configuration without layer norm and residual connections: a cell alone."""
    return ModelConfig(**config.to_dict() | {"layer_norm": False, "residual": False})


def convolve(values: Array, weight: Array) -> Array:
    """Convolve with stride 2 and half of the kernel as padding, as `PictureEncoder` does.

    Args:
        values: (height, width, channels).
        weight: (new channels, channels, KERNEL, KERNEL).

    Returns:
        Half as high and wide, rounded up, (height, width, new channels).
    """
    edge = KERNEL // 2
    padded = np.pad(values, ((edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), axis=(0, 1))
    found: Array = np.tensordot(windows[::2, ::2], weight, axes=((2, 3, 4), (1, 2, 3)))
    return found
