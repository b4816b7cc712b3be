"""Which weights a configuration implies, by name and shape.

Known without torch and without allocating anything.

A model file is checked against it before it is believed, `--dry-run` and `info` count with it, and
the NumPy model reads the same names. `tests/test_model.py` holds it against the torch model.
"""

from math import prod

from charrnn.config.schema import ModelConfig

NUM_GATES = {"rnn": 1, "gru": 3, "lstm": 4, "mingru": 2, "minlstm": 3}
NUM_STATES = {"rnn": 1, "gru": 1, "lstm": 2, "mingru": 1, "minlstm": 1}


def tails(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Return each tail of an adaptive softmax.

    Its first symbol, the one after its last, and its width.
    """
    if not config.adaptive:
        return []
    first, second, hidden = config.vocab_size // 8, config.vocab_size // 2, config.hidden_size
    return [(first, second, max(1, hidden // 2)), (second, config.vocab_size, max(1, hidden // 4))]


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a model, in the model's own order."""
    hidden = config.hidden_size
    rare = tails(config)
    outputs = rare[0][0] + len(rare) if rare else config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {"head_bias": (outputs,)}
    if not config.tied:
        shapes["head_weight"] = (outputs, hidden)
    shapes["embedding.weight"] = (config.vocab_size + 1, config.embedding_size)
    for layer in range(config.num_layers):
        prefix = f"layers.{layer}."
        for name, shape in cell_shapes(
            config, config.embedding_size if layer == 0 else hidden
        ).items():
            shapes[f"{prefix}cell.{name}"] = shape
        if config.layer_norm:
            shapes[prefix + "norm.weight"] = (hidden,)
            shapes[prefix + "norm.bias"] = (hidden,)
    if config.attention:
        shapes |= {f"attention.{name}.weight": (hidden, hidden) for name in ("query", "output")}
        shapes |= {f"attention.norm.{name}": (hidden,) for name in ("weight", "bias")}
    for number, (begin, end, width) in enumerate(rare):
        shapes[f"tails.{number}.bias"] = (end - begin,)
        shapes[f"tails.{number}.project"] = (width, hidden)
        shapes[f"tails.{number}.weight"] = (end - begin, width)
    return shapes


def state_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Return the shape of each tensor that a model carries for one stream.

    Its cells' in turn, then its attention's.
    """
    cells: list[tuple[int, ...]] = [(config.hidden_size,)] * (
        config.num_layers * NUM_STATES[config.cell]
    )
    return [*cells, (config.attention, config.hidden_size), (1,)] if config.attention else cells


def cell_shapes(config: ModelConfig, input_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a cell, its gates stacked along the first axis."""
    hidden, rows = config.hidden_size, NUM_GATES[config.cell] * config.hidden_size
    if config.cell in ("mingru", "minlstm"):  # no matrix of the state
        return {"weight": (rows, input_size), "bias": (rows,)}
    return {
        "rnn.weight_ih_l0": (rows, input_size),
        "rnn.weight_hh_l0": (rows, hidden),
        "rnn.bias_ih_l0": (rows,),
        "rnn.bias_hh_l0": (rows,),
    }


def parameter_count(config: ModelConfig) -> int:
    """Count the numbers that a model of this shape consists of."""
    return sum(prod(shape) for shape in weight_shapes(config).values())
