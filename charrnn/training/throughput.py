"""How fast this machine trains a model."""

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.data.subset import spread
from charrnn.model.network import build
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.training.trainer import Trainer

MEASURED_SECONDS, SHORT_SECONDS = 1.5, 0.3
SCORED_STEPS = 8  # the tokens of so many steps are scored to see how long that takes
# The cost of scoring a token, as a fraction of training on it, where it is not measured: a forward
# pass, which is a third of a step's work, over a quarter more tokens because of the warm-up.
SCORING_COST = 0.42
EVALUATIONS = 10  # of a run whose length was given
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 5, 20  # of a run with a time budget
VALIDATION_SHARE = 0.05  # of a run's time, for all evaluations together
FEWEST_TOKENS = 4096  # that an evaluation scores, unless the validation text is shorter


@dataclass(frozen=True)
class Throughput:
    """The seconds that one training step takes, and one evaluation on the validation text."""

    step: float
    evaluation: float

    def scaled(self, factor: float) -> "Throughput":
        """Return the throughput for steps that take `factor` times as long."""
        return replace(self, step=self.step * factor)

    def seconds(self, config: TrainConfig, whole: int) -> float:
        """Return the seconds that a run takes, evaluations included.

        Args:
            config: The settings of the run.
            whole: Tokens of the validation text.
        """
        evaluations = math.ceil(config.steps / config.eval_every) - 1
        training = config.steps * self.step + evaluations * self._evaluation(config, whole)
        return training + self.after_last_step(config, whole)

    def after_last_step(self, config: TrainConfig, whole: int) -> float:
        """Return the seconds that a run takes to evaluate after its last step; see `seconds`."""
        last = self._evaluation(config, whole)
        is_part = (config.valid_tokens or whole) < whole
        return last + (self.evaluation if is_part and config.valid_whole else 0.0)

    def _evaluation(self, config: TrainConfig, whole: int) -> float:
        """Return the seconds of an evaluation, which may score a part of the validation text."""
        return self.evaluation * min(1.0, (config.valid_tokens or whole) / whole)

    def steps_within(self, seconds: float, max_steps: int) -> int:
        """Return how many steps, at most `max_steps`, fit into a time with their evaluations."""
        affordable = VALIDATION_SHARE * seconds
        validation = min(affordable, MOST_EVALUATIONS * self.evaluation)
        validation += self.evaluation if self.evaluation <= affordable else 0.0  # at the end
        return min(max_steps, max(10, int((seconds - validation) / self.step)))


def validation_settings(
    steps: int,
    step_tokens: float,
    whole: int,
    given: Mapping[str, Any],
    scoring_cost: float | None,
) -> dict[str, Any]:
    """Return how often and how much to validate, so that it takes a small share of the time.

    Args:
        steps: Steps of the run.
        step_tokens: Tokens of a step.
        whole: Tokens of the validation text.
        given: Settings that were given.
        scoring_cost: Seconds to score a token, as a fraction of those to train on one, if the run
            has a time budget, which a long validation text would exceed. Without one, the settings
            do not depend on the speed.
    """
    timed, cost = scoring_cost is not None, scoring_cost or SCORING_COST
    affordable = VALIDATION_SHARE * steps * step_tokens / cost  # tokens scored
    evaluations = EVALUATIONS
    if timed:
        evaluations = max(FEWEST_EVALUATIONS, min(MOST_EVALUATIONS, int(affordable / whole)))
    every = given.get("eval_every", math.ceil(steps / evaluations) or 1)
    tokens = max(FEWEST_TOKENS, int(affordable / max(1, math.ceil(steps / every))))
    score_whole = given.get("valid_whole", whole <= affordable or not timed)
    # The only evaluation is the one at the end: a part of what is then scored anyway adds nothing.
    only_once = every >= steps and score_whole
    chosen = {
        "eval_every": every,
        "valid_tokens": None if only_once or tokens >= whole else tokens,
        "valid_whole": score_whole,
    }
    return {name: given.get(name, value) for name, value in chosen.items()}


def measure_throughput(
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    data: EncodedSplit,
    group: ProcessGroup = ALONE,
    *,
    seconds: float = MEASURED_SECONDS,
) -> Throughput:
    """Time a few steps of a new model, at least three, and its evaluation on a little text.

    The first steps are much slower, and other programs may delay some: the result is the median of
    the second half. The model is then discarded.

    Args:
        model: The shape of the network.
        config: How it is trained.
        precision: Number format.
        data: The text.
        group: The processes that train together. All call this at once.
        seconds: How long it takes. In a short time the fastest step counts: what slows others down
            may be over when the run begins. An evaluation is then assumed to take as long as usual.
    """
    network = build(model, config.seed).to(choose_device(config.device))
    trainer = Trainer(network, data, config, precision, group)
    begin, times, measured = time.monotonic(), list[float](), 0.0
    while len(times) < 3 or measured < seconds:
        before = time.monotonic()
        trainer.train_once()
        now = time.monotonic()
        times.append(now - before)
        (measured,) = group.max(now - begin)  # so that all processes end after the same step
    late, is_short = times[len(times) // 2 :], seconds <= SHORT_SECONDS
    typical = min(late) if is_short else statistics.median(late)
    step_tokens = len(data.train.ids) / trainer.batcher.steps_per_epoch()
    scoring = SCORING_COST * typical / step_tokens
    if not is_short:
        trainer.valid = spread(data.valid, max(1, int(SCORED_STEPS * step_tokens)))
        before = time.monotonic()
        trainer.evaluate()
        scoring = (time.monotonic() - before) / len(trainer.valid.ids)
    return Throughput(*group.max(typical, scoring * len(data.valid.ids)))
