"""What differs between the processes that train together: their rows and their random numbers."""

import numpy as np
import torch

from charrnn.config.training import TrainConfig
from charrnn.errors import UsageError
from charrnn.runtime.distributed import ProcessGroup


def rank_key(name: str, rank: int) -> str:
    """Return the key of a process's part of the state; that of rank 0 has no number."""
    return f"{name}.{rank}" if rank else name


def seed_dropout(seed: int, rank: int) -> None:
    """Seed torch's global generator, which only dropout draws from, differently in each process."""
    if rank:
        seed = int(np.random.SeedSequence((seed, rank)).generate_state(1)[0])
    torch.manual_seed(seed)


def check_shards(rows: int, config: TrainConfig, group: ProcessGroup) -> None:
    """Raise `UsageError` unless a batch of `rows` rows can be sharded evenly."""
    parts = group.size * config.accumulate
    if rows % parts == 0:
        return
    own = rows == config.batch_size
    what = f"`batch_size` {rows}" if own else f"The number of the text's streams, {rows},"
    factors = [f"{group.size} ranks"] * (group.size > 1)
    factors += [f"{config.accumulate} accumulation steps"] * (config.accumulate > 1)
    near = max(parts, rows - rows % parts)
    raise UsageError(
        f"{what} is not divisible by {' times '.join(factors)}.", f"Try `batch_size` {near}."
    )
