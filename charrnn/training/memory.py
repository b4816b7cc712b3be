"""An estimate of the memory that training needs, made before anything is allocated."""

from collections.abc import Iterable

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import MachineError
from charrnn.evaluation.scoring import MAX_LOGITS
from charrnn.model.attention import MIN_BLOCK
from charrnn.model.shapes import parameter_count, table_size
from charrnn.runtime.device import choose_device, free_memory

FLOAT_BYTES = 4


def memory_bytes(
    model: ModelConfig, batches: Iterable[tuple[int, int]], scored_tokens: int = 0
) -> int:
    """Estimate the bytes for weights, gradients and optimizer, and for a training step or scoring.

    Args:
        model: The shape of the network.
        batches: Rows and time steps of each shape of batch.
        scored_tokens: Tokens that are scored at once.
    """
    weights = 4 * parameter_count(model)  # weights, gradients and two moving averages
    weights += 3 * table_size(model)  # the tables, and copies while they are saved
    # Scoring computes a probability for each symbol, and keeps this many copies of them.
    copies = 5 if model.adaptive else 3
    scoring = copies * min(scored_tokens * model.vocab_size, MAX_LOGITS)
    training = max(rows * _floats_per_row(model, steps) for rows, steps in batches)
    return FLOAT_BYTES * (weights + max(scoring, training))


def _floats_per_row(model: ModelConfig, steps: int) -> int:
    """Return how many numbers a row of `steps` time steps keeps for the backward pass."""
    hidden, span = model.hidden_size, model.attention
    outputs = model.vocab_size // (3 if model.adaptive else 1)  # most targets need no tail
    gates = len(CELLS[model.cell].gates)
    per_step = model.num_layers * hidden * (2 * gates + 6) + 3 * outputs
    if not span:
        return steps * per_step
    per_step += 8 * hidden  # values, queries and attention outputs
    per_step += min(span + max(span, MIN_BLOCK), span + steps)  # mask of a step's window
    return steps * per_step + 4 * span * hidden  # memory before and after, and their gradients


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
