"""An estimate of the memory that training needs, made before anything is allocated."""

from collections.abc import Iterable, Sequence
from math import prod

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.source import COLOURS
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded
from charrnn.errors import MachineError
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import MAX_LOGITS, segments
from charrnn.model.attention import MIN_BLOCK
from charrnn.model.shapes import parameter_count, table_size
from charrnn.model.source.shapes import CHANNELS, encoder_config, grids, state_size
from charrnn.runtime.device import choose_device, free_memory

FLOAT_BYTES = 4
MATCH_COPIES = 12  # of the symbols that matches are looked for in: codes, hashes and keys


def memory_bytes(
    model: ModelConfig,
    batches: Iterable[tuple[int, ...]],
    scored_tokens: int = 0,
    teachers: Sequence[ModelConfig] = (),
) -> int:
    """Estimate the bytes for weights, gradients and optimizer, and for a training step or scoring.

    Args:
        model: The shape of the network.
        batches: Rows and time steps of each shape of batch, and the length of its sources.
        scored_tokens: Tokens that are scored at once.
        teachers: The shapes of the models to learn from.
    """
    weights = 4 * parameter_count(model)  # weights, gradients and two moving averages
    weights += 3 * table_size(model)  # the tables, and copies while they are saved
    # Scoring computes a probability for each symbol, and keeps this many copies of them.
    copies = 5 if model.adaptive else 3
    scoring = copies * min(scored_tokens * model.vocab_size, MAX_LOGITS)
    training = max(
        rows
        * (
            _floats_per_row(model, steps)
            + _floats_of_source(model, steps, *length)
            + _floats_of_teachers(teachers, steps, *length)
        )
        for rows, steps, *length in batches
    )
    return FLOAT_BYTES * (weights + max(scoring, training)) + teacher_bytes(teachers)


def teacher_bytes(teachers: Sequence[ModelConfig]) -> int:
    """Estimate the bytes for the weights of models to learn from: as they were read, and a copy."""
    return 2 * FLOAT_BYTES * sum(parameter_count(one) + table_size(one) for one in teachers)


def _floats_per_row(model: ModelConfig, steps: int) -> int:
    """Return how many numbers a row of `steps` time steps keeps for the backward pass."""
    hidden, span = model.hidden_size, model.attention
    outputs = model.vocab_size // (3 if model.adaptive else 1)  # most targets need no tail
    gates = len(CELLS[model.cell].gates)
    per_step = model.num_layers * hidden * (2 * gates + 6) + 3 * outputs
    matched = MATCH_COPIES * (model.match_history + steps) if model.match_window else 0
    if not span:
        return steps * per_step + matched
    per_step += 8 * hidden  # values, queries and attention outputs
    per_step += min(span + max(span, MIN_BLOCK), span + steps)  # mask of a step's window
    memory = 4 * span * hidden  # before and after, and their gradients
    return steps * per_step + matched + memory


def _floats_of_teachers(teachers: Sequence[ModelConfig], steps: int, length: int = 0) -> int:
    """Return how many numbers a row takes for its teachers, which run one after the other.

    They keep nothing for a backward pass but their probabilities, of which there are some copies.
    What they know of a source of this length they all keep.
    """
    each = (
        steps * (one.hidden_size * (2 * len(CELLS[one.cell].gates) + 3) + 5 * one.vocab_size)
        for one in teachers
    )
    sources = (_floats_of_source(one, steps, length) for one in teachers)
    return max(each, default=0) + sum(sources)


def _floats_of_source(model: ModelConfig, steps: int, length: int = 0) -> int:
    """Return how many numbers a source of this length keeps, with attention to it in each step."""
    source, hidden = model.source, model.hidden_size
    if source is None:
        return 0
    found = 0
    if source.source == "text":
        own = encoder_config(model)
        gates = len(CELLS[own.cell].gates)
        found = length * own.num_layers * state_size(model) * (2 * gates + 8)
    elif source.is_picture:
        sizes = grids(source)
        length = prod(sizes[-1])
        pixels = 2 * COLOURS * prod(source.pixels)
        found = pixels + sum(3 * prod(one) * c for one, c in zip(sizes, CHANNELS, strict=False))
    if source.source_attention == "none":
        return found
    return found + length * (2 * state_size(model) + 4 * hidden + 4 * steps)


def max_tokens(text: Encoded) -> int:
    """Return the most tokens of a text that are scored in one call of the model."""
    groups = segments(text, ScoringProtocol.of(text))
    return max(len(one.end) * min(one.steps(1), one.longest) for one in groups)


def check_memory(needed: int, config: TrainConfig) -> None:
    """Raise `MachineError` if the device has fewer than `needed` bytes free."""
    free = free_memory(choose_device(config.device))
    if free is None or needed <= free:
        return
    length = f"`seq_len` {config.seq_len}" if config.bptt != "full" else "`bptt` full"
    raise MachineError(
        f"Training with {length} and `batch_size` {config.batch_size} needs about "
        f"{needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free.",
        "Give a smaller `seq_len`, `batch_size` or `hidden_size`.",
    )
