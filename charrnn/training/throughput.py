"""How fast this machine trains a model."""

import math
import statistics
import time
from dataclasses import dataclass, replace

from charrnn.config.schema import ModelConfig, TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.model.network import build
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.trainer import Trainer

MEASURED_SECONDS = 2.5
WARM = 0.9  # a warm step's time, as a fraction of a step's while measuring
# Scoring runs the forward third of a step's work, through a quarter more tokens for the warm-up.
SCORING = 0.42
EVALUATIONS = 10  # in a run whose length was given
MAX_EVALUATIONS = 20  # in a run with a time budget, which spends 5 % of it on them


@dataclass(frozen=True)
class Throughput:
    """Seconds of one training step, and of one evaluation on the validation text."""

    step: float
    evaluation: float

    def scaled(self, factor: float) -> "Throughput":
        """Return the throughput of steps that take `factor` times as long."""
        return replace(self, step=self.step * factor)

    def seconds(self, steps: int, eval_every: int) -> float:
        """Return the seconds that so many steps take, with their evaluations."""
        return steps * self.step + math.ceil(steps / eval_every) * self.evaluation

    def steps_within(self, seconds: float, most: int) -> tuple[int, int]:
        """Return how many steps, at most `most`, and evaluations fit into a time."""
        evaluations = max(1, min(MAX_EVALUATIONS, int(0.05 * seconds / self.evaluation)))
        steps = max(10, int((seconds - evaluations * self.evaluation) / self.step))
        return min(steps, most), evaluations


def measure_throughput(
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    data: EncodedSplit,
    group: ProcessGroup = ALONE,
) -> Throughput:
    """Time a few steps of a model that is then thrown away.

    The median of the second half is taken: the first steps are much slower, and some are disturbed
    by what else the machine does.
    """
    network = build(model, config.seed).to(choose_device(config.device))
    trainer = Trainer(network, data, config, precision, group)
    begin, times, measured = time.monotonic(), list[float](), 0.0
    while len(times) < 3 or measured < MEASURED_SECONDS:
        before = time.monotonic()
        trainer.train_once()
        now = time.monotonic()
        times.append(now - before)
        (measured,) = group.max(now - begin)  # so all of them end after the same step
    (step,) = group.max(WARM * statistics.median(times[len(times) // 2 :]))
    tokens_per_step = len(data.train.ids) / trainer.batcher.steps_per_epoch()
    return Throughput(step, SCORING * step * len(data.valid.ids) / tokens_per_step)
