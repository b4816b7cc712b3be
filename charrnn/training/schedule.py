"""The learning rate of each step."""

import math

from charrnn.config.training import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then cosine decay."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, config.steps - warmup))
    cosine = (1 + math.cos(math.pi * done)) / 2
    return config.lr * (config.lr_floor + (1 - config.lr_floor) * cosine)
