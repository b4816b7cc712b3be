"""The learning rate of each step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config.training import TrainConfig


@dataclass(frozen=True)
class Stage:
    """The part of a run that its learning rate is planned for: all of it, unless it was extended.

    Attributes:
        begin: Its first step, counted from 0.
        start: Learning rate before it, from which warm-up rises.
        peak: Learning rate after warm-up.
    """

    begin: int
    start: float
    peak: float

    @classmethod
    def whole(cls, config: TrainConfig) -> "Stage":
        """Return the only stage of a run that was never extended."""
        return cls(0, 0.0, config.lr)

    @classmethod
    def restored(cls, facts: Mapping[str, Any], config: TrainConfig) -> "Stage":
        """Return the stage that a trainer's saved state names, or that of the whole run.

        Raises:
            ValueError, TypeError: It is not a stage.
        """
        stage = cls(**facts["stage"]) if "stage" in facts else cls.whole(config)
        if type(stage.begin) is not int or not all(
            0 <= value < math.inf for value in vars(stage).values()
        ):
            raise ValueError(f"{stage} is not a stage of a run.")
        return stage


def learning_rate(step: int, config: TrainConfig, stage: Stage | None = None) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then linear decay.

    A straight line to zero (Bergsma et al. 2025, "Straight to Zero") did better than a cosine.

    Args:
        step: The step, at least the stage's first.
        config: The number of steps, and the shape of the schedule.
        stage: The stage of the run that the step is in; None is the whole run.
    """
    stage = stage or Stage.whole(config)
    done, steps = step - stage.begin, config.steps - stage.begin
    warmup = max(1, round(config.warmup * steps))
    if done < warmup:
        return stage.start + (stage.peak - stage.start) * (done + 1) / warmup
    decayed = min(1.0, (done - warmup) / max(1, steps - warmup))
    return stage.peak * (1 - (1 - config.lr_floor) * decayed)
