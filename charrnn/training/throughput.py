"""How fast this machine trains a model, and what fits into a time at that speed."""

import math
import statistics
import time
from dataclasses import dataclass

from charrnn.config.schema import ModelConfig, TrainConfig
from charrnn.data.text import Encoded
from charrnn.model.network import build
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.tokenizers import Tokenizer
from charrnn.training.trainer import Trainer


@dataclass(frozen=True)
class Speed:
    """Seconds of one training step and of one evaluation on the validation text."""

    step: float
    evaluation: float

    def of(self, steps: int, eval_every: int) -> float:
        """Return the seconds that so many steps take, with their evaluations."""
        return steps * self.step + math.ceil(steps / eval_every) * self.evaluation


def measure_speed(
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    tokenizer: Tokenizer,
    train: Encoded,
    valid: Encoded,
    ranks: Ranks = ALONE,
) -> Speed:
    """Time a few steps of a model that is then thrown away.

    The median of the second half is taken: the first steps are much slower, and some are disturbed
    by what else the machine does.
    """
    trainer = Trainer(
        build(model, config.seed).to(choose_device(config.device)),
        tokenizer,
        train,
        valid,
        config,
        precision,
        ranks,
    )
    begin, times, measured = time.monotonic(), list[float](), 0.0
    while len(times) < 3 or measured < MEASURED_SECONDS:
        before = time.monotonic()
        trainer.train_once()
        now = time.monotonic()
        times.append(now - before)
        (measured,) = ranks.most(now - begin)  # so all of them end after the same step
    (step,) = ranks.most(WARM * statistics.median(times[len(times) // 2 :]))
    # Scoring runs the forward third of a step's work, through a quarter more tokens for the
    # warm-up.
    return Speed(
        step, 0.42 * step * len(valid.ids) * trainer.batcher.steps_per_epoch() / len(train.ids)
    )


MEASURED_SECONDS = 2.5
WARM = 0.9  # of a step's time then is what one takes later


def steps_within(seconds: float, speed: Speed, most: int) -> tuple[int, int]:
    """Return how many steps and evaluations fit into a time, and into `most` steps."""
    left = seconds - SECONDS_TO_LEAVE
    evaluations = max(1, min(2 * EVALUATIONS, int(0.05 * left / speed.evaluation)))
    steps = max(10, int((left - evaluations * speed.evaluation) / speed.step))
    return min(steps, most), evaluations


SECONDS_TO_LEAVE = 1.0  # of a budget of time, to save and to end
EVALUATIONS = 10  # in a run whose length was given; one with a budget of time spends 5 % of it on them, and 20 at most
