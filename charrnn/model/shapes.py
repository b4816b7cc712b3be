"""The weights that a configuration implies, by name and shape. Neither imports torch nor allocates.

Model files are checked against these shapes, `info` and the plan of a run count parameters by them,
and the NumPy model reads weights of these names. `tests/test_model.py` compares them with those of
the torch model.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.errors import counted
from charrnn.model.cells.shapes import Shapes, cell_shapes
from charrnn.model.source.shapes import source_shapes

TABLES = "ngrams.weight"  # embeddings of n-grams, of which a model may have used only some
SKIP = "ngrams.skip.weight"  # the matrix that leads them to the output layer's input


def tails(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Return (first symbol, one past the last, width) of each tail of an adaptive softmax."""
    if not config.adaptive:
        return []
    first, second, hidden = config.vocab_size // 8, config.vocab_size // 2, config.hidden_size
    return [(first, second, max(1, hidden // 2)), (second, config.vocab_size, max(1, hidden // 4))]


def weight_shapes(config: ModelConfig) -> Shapes:
    """Return the shape of each weight of a model, in the model's own order."""
    hidden, rare = config.hidden_size, tails(config)
    outputs = rare[0][0] + len(rare) if rare else config.vocab_size
    shapes: Shapes = {"head_bias": (outputs,)}
    if not config.tied:
        shapes["head_weight"] = (outputs, hidden)
    shapes["embedding.weight"] = (config.vocab_size + 1, config.embedding_size)
    if config.ngram_embedding:
        shapes[TABLES] = (len(config.ngram_orders) * config.ngram_rows, config.embedding_size)
    if config.ngrams_to_output:
        shapes[SKIP] = (hidden, config.embedding_size)
    if config.match_window:
        width = len(config.match_lengths) * config.embedding_size
        shapes["matches.input_weight"] = (config.embedding_size, width)
        shapes["matches.output_weight"] = (hidden, width)
    for layer in range(config.num_layers):
        shapes |= _layer_shapes(config, layer)
    if config.attention:
        shapes |= {f"attention.{name}.weight": (hidden, hidden) for name in ("query", "output")}
        shapes |= {f"attention.norm.{name}": (hidden,) for name in ("weight", "bias")}
    for number, (begin, end, width) in enumerate(rare):
        shapes[f"tails.{number}.bias"] = (end - begin,)
        shapes[f"tails.{number}.project"] = (width, hidden)
        shapes[f"tails.{number}.weight"] = (end - begin, width)
    return shapes | (source_shapes(config) if config.source is not None else {})


def _layer_shapes(config: ModelConfig, layer: int) -> Shapes:
    input_size = config.embedding_size if layer == 0 else config.hidden_size
    cell, prefix = cell_shapes(config, input_size), f"layers.{layer}."
    shapes = {f"{prefix}cell.{name}": shape for name, shape in cell.items()}
    if config.layer_norm:
        shapes |= {f"{prefix}norm.{name}": (config.hidden_size,) for name in ("weight", "bias")}
    return shapes


def state_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Return the shapes of a stream's state: of cells, attention, n-grams and matches.

    What a model remembers of a source comes after them; its length is the source's.
    """
    shapes: list[tuple[int, ...]] = [(config.hidden_size,)] * cell_states(config)
    if config.attention:
        shapes += [(config.attention, config.hidden_size), (1,)]
    shapes += [(config.ngram_embedding - 1,)] if config.ngram_embedding else []
    shapes += [(config.match_history,)] if config.match_window else []
    return shapes


def cell_states(config: ModelConfig) -> int:
    """Return the number of arrays at the beginning of a state that are the cells'."""
    return config.num_layers * CELLS[config.cell].num_states


def parameter_count(config: ModelConfig) -> int:
    """Return the number of parameters of a model of this shape, without the tables of n-grams."""
    shapes = weight_shapes(config)
    return sum(prod(shape) for name, shape in shapes.items() if name != TABLES)


def describe_shape(config: Mapping[str, Any]) -> str:
    """Return in words the cell and the size of a model, whose configuration is a table."""
    return f"{config['cell']} {config['num_layers']} x {config['hidden_size']}"


def describe_shapes(configs: Iterable[ModelConfig]) -> str:
    """Return in words the cells and the sizes of several models."""
    return " + ".join(describe_shape(vars(one)) for one in configs)


def describe_size(config: ModelConfig) -> str:
    """Return the number of parameters in words, and that in tables of n-grams if there are any."""
    tables = table_size(config)
    in_tables = f" and {tables:,} in tables of n-grams" if tables else ""
    return f"{counted(parameter_count(config), 'parameter')}{in_tables}"


def table_size(config: ModelConfig) -> int:
    """Return the number of parameters in the tables of n-grams."""
    return prod(weight_shapes(config).get(TABLES, (0,)))
