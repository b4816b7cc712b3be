"""Which weights a configuration implies, by name and shape: known without torch and without allocating anything.

A model file is checked against it before it is believed, `--dry-run` and `info` count with it, and the NumPy model
reads the same names. `tests/test_model.py` holds it against the torch model.
"""

from math import prod

from charrnn.config import ModelConfig

NUM_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
NUM_STATES = {"rnn": 1, "gru": 1, "lstm": 2}


def tails(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Return each tail of an adaptive softmax: its first symbol, the one after its last, and its width."""
    if not config.adaptive:
        return []
    first, second, hidden = config.vocab_size // 8, config.vocab_size // 2, config.hidden_size
    return [(first, second, max(1, hidden // 2)), (second, config.vocab_size, max(1, hidden // 4))]


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a model, in the model's own order."""
    hidden, rows = config.hidden_size, NUM_GATES[config.cell] * config.hidden_size
    rare = tails(config)
    outputs = rare[0][0] + len(rare) if rare else config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {"head_bias": (outputs,)}
    if not config.tied:
        shapes["head_weight"] = (outputs, hidden)
    shapes["embedding.weight"] = (config.vocab_size + 1, config.embedding_size)
    for layer in range(config.num_layers):
        prefix = f"layers.{layer}."
        shapes[prefix + "cell.rnn.weight_ih_l0"] = (rows, config.embedding_size if layer == 0 else hidden)
        shapes[prefix + "cell.rnn.weight_hh_l0"] = (rows, hidden)
        shapes[prefix + "cell.rnn.bias_ih_l0"] = (rows,)
        shapes[prefix + "cell.rnn.bias_hh_l0"] = (rows,)
        if config.layer_norm:
            shapes[prefix + "norm.weight"] = (hidden,)
            shapes[prefix + "norm.bias"] = (hidden,)
    for number, (begin, end, width) in enumerate(rare):
        shapes[f"tails.{number}.bias"] = (end - begin,)
        shapes[f"tails.{number}.project"] = (width, hidden)
        shapes[f"tails.{number}.weight"] = (end - begin, width)
    return shapes


def parameter_count(config: ModelConfig) -> int:
    """Count the numbers that a model of this shape consists of."""
    return sum(prod(shape) for shape in weight_shapes(config).values())
