"""The weights of the network that reads a source, by name and shape; see `charrnn.model.shapes`."""

from dataclasses import replace
from math import prod

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.source import COLOURS, SourceConfig
from charrnn.model.cells.shapes import Shapes, cell_shapes

CHANNELS = (32, 64, 128, 128, 128, 128)  # of the convolutional layers, each of half the size
KERNEL = 3
MIN_LAYERS = 3
MAX_CELLS = 128  # of the grid that a picture becomes


def grids(config: SourceConfig) -> list[tuple[int, int]]:
    """Return height and width of a picture after each convolutional layer.

    Layers are added until the grid has at most 128 cells, and there are at least three.
    """
    width, height = config.pixels
    found: list[tuple[int, int]] = []
    while len(found) < len(CHANNELS) and (len(found) < MIN_LAYERS or prod(found[-1]) > MAX_CELLS):
        height, width = (height + 1) // 2, (width + 1) // 2
        found.append((height, width))
    return found


def encoder_config(config: ModelConfig) -> ModelConfig:
    """Return the shape of the layers that read a text source in one direction."""
    source = config.source
    assert source is not None
    return replace(
        config,
        source=None,
        cell=source.source_cell or config.cell,
        num_layers=source.source_layers,
        hidden_size=source.source_hidden_size or config.hidden_size,
        tied=False,
        adaptive=False,
        attention=0,
    )


def embedding_size(config: ModelConfig) -> int:
    """Return the width of the embedding of a source's symbols."""
    source = config.source
    assert source is not None
    return source.source_embedding_size or config.embedding_size


def state_size(config: ModelConfig) -> int:
    """Return the size of each state of the source."""
    source = config.source
    assert source is not None
    if source.source == "image":
        return source.feature_size or CHANNELS[len(grids(source)) - 1]
    return text_size(config) if source.source == "text" else embedding_size(config)


def text_size(config: ModelConfig) -> int:
    """Return the size of the states of a text, in all directions."""
    directions = 2 if config.source is not None and config.source.bidirectional else 1
    return directions * encoder_config(config).hidden_size


def first_state_size(config: ModelConfig) -> int:
    """Return the number of numbers in the first state of the decoder's layers."""
    return config.num_layers * CELLS[config.cell].num_states * config.hidden_size


def source_shapes(config: ModelConfig) -> Shapes:
    """Return the shape of each weight of a model's source, in the model's own order."""
    source, size, hidden = config.source, state_size(config), config.hidden_size
    assert source is not None
    shapes = {f"encoder.{name}": shape for name, shape in _encoder_shapes(config).items()}
    first = first_state_size(config)
    shapes |= {"first_state.weight": (first, size), "first_state.bias": (first,)}
    if source.source_attention != "none":
        if source.source_attention == "additive":
            shapes["attention.score"] = (hidden,)
        shapes["attention.query.weight"] = (hidden, hidden)
        shapes |= {"attention.key.weight": (hidden, size), "attention.key.bias": (hidden,)}
        shapes["attention.value.weight"] = (hidden, size)
    return {f"source.{name}": shape for name, shape in shapes.items()}


def _encoder_shapes(config: ModelConfig) -> Shapes:
    source = config.source
    assert source is not None
    if source.source == "image":
        return _feature_shapes(source) if source.feature_size else _picture_shapes(source)
    table = {"embedding.weight": (source.source_vocab_size or 0, embedding_size(config))}
    return table | (_layer_shapes(config, source) if source.source == "text" else {})


def _layer_shapes(config: ModelConfig, source: SourceConfig) -> Shapes:
    own, size, shapes = encoder_config(config), state_size(config), Shapes()
    for layer in range(own.num_layers):
        inputs = embedding_size(config) if layer == 0 else size
        directions = range(2 if source.bidirectional else 1)
        for direction in directions:
            prefix = f"layers.{layer}.directions.{direction}."
            cell = cell_shapes(own, inputs)
            shapes |= {f"{prefix}{name}": shape for name, shape in cell.items()}
        for direction in directions if own.layer_norm else ():
            prefix = f"layers.{layer}.norms.{direction}."
            shapes |= {f"{prefix}{name}": (own.hidden_size,) for name in ("weight", "bias")}
    return shapes


def _picture_shapes(source: SourceConfig) -> Shapes:
    sizes, shapes = grids(source), Shapes()
    channels = (COLOURS, *CHANNELS[: len(sizes)])
    shapes["position"] = (prod(sizes[-1]), channels[-1])
    for layer in range(len(sizes)):
        before, after = channels[layer : layer + 2]
        shapes[f"layers.{layer}.weight"] = (after, before, KERNEL, KERNEL)
        shapes[f"layers.{layer}.bias"] = (after,)
    return shapes | {f"norm.{name}": (channels[-1],) for name in ("weight", "bias")}


def _feature_shapes(source: SourceConfig) -> Shapes:
    assert source.feature_size is not None
    return {f"norm.{name}": (source.feature_size,) for name in ("weight", "bias")}
