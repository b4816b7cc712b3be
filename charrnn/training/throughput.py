"""How fast this machine trains a model."""

import math
import statistics
import time
from dataclasses import dataclass, replace

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.model.network import build
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.trainer import Trainer

MEASURED_SECONDS = 2.5
WARM_STEP = 0.9  # a step's time during a run, as a fraction of the time measured here
# The cost of scoring a token, as a fraction of training on it: a forward pass, which is a third of
# a step's work, over a quarter more tokens because of the warm-up.
SCORING_COST = 0.42
EVALUATIONS = 10  # of a run whose length was given
MAX_EVALUATIONS = 20  # of a run with a time budget, which spends 5 % of it on them


@dataclass(frozen=True)
class Throughput:
    """The seconds that one training step takes, and one evaluation on the validation text."""

    step: float
    evaluation: float

    def scaled(self, factor: float) -> "Throughput":
        """Return the throughput for steps that take `factor` times as long."""
        return replace(self, step=self.step * factor)

    def seconds(self, steps: int, eval_every: int) -> float:
        """Return the seconds that `steps` steps take, evaluations included."""
        return steps * self.step + math.ceil(steps / eval_every) * self.evaluation

    def steps_within(self, seconds: float, max_steps: int) -> tuple[int, int]:
        """Return how many steps, at most `max_steps`, and evaluations fit into a time."""
        evaluations = max(1, min(MAX_EVALUATIONS, int(0.05 * seconds / self.evaluation)))
        steps = max(10, int((seconds - evaluations * self.evaluation) / self.step))
        return min(steps, max_steps), evaluations


def measure_throughput(
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    data: EncodedSplit,
    group: ProcessGroup = ALONE,
) -> Throughput:
    """Time a few steps of a new model, which is then discarded.

    The result is the median of the second half of the steps, because the first steps are much
    slower and other programs may delay some.
    """
    network = build(model, config.seed).to(choose_device(config.device))
    trainer = Trainer(network, data, config, precision, group)
    begin, times, measured = time.monotonic(), list[float](), 0.0
    while len(times) < 3 or measured < MEASURED_SECONDS:
        before = time.monotonic()
        trainer.train_once()
        now = time.monotonic()
        times.append(now - before)
        (measured,) = group.max(now - begin)  # so that all processes end after the same step
    (step,) = group.max(WARM_STEP * statistics.median(times[len(times) // 2 :]))
    tokens_per_step = len(data.train.ids) / trainer.batcher.steps_per_epoch()
    return Throughput(step, SCORING_COST * step * len(data.valid.ids) / tokens_per_step)
