"""The time budget of a run: how many steps fit into it, and how many threads take them."""

import time
from collections.abc import Callable

from charrnn.config.schema import TrainConfig
from charrnn.runtime.device import choose_device, idle_cores, prepare_cpu
from charrnn.runtime.distributed import ProcessGroup
from charrnn.training.throughput import Throughput

UNLIMITED = 1 << 40  # steps
SECONDS_TO_LEAVE = 1.0  # to save and to end
CHECKS = 10  # times that a run looks at its pace
ADJUSTED_FROM = 0.02  # fraction of the steps that is worth a change
ADJUSTED_UNTIL = 0.8  # fraction of the run after which its end stays where it is
CLEARLY_FASTER = 0.8  # of the time of a step


class TimeBudget:
    """When a run has to end, and what that means for its number of steps.

    Args:
        deadline: `time.monotonic()` at which the command should end.
        max_steps: Steps that are never exceeded to fill the time.
        evaluation: Seconds of the last evaluation, which no step may take away.
    """

    def __init__(self, deadline: float, max_steps: int, evaluation: float) -> None:
        self.deadline, self.max_steps = deadline, max_steps
        self.reserved_seconds = SECONDS_TO_LEAVE + evaluation
        self._pace_from = (time.monotonic(), 0)  # when the pace was last taken, after which step

    def first_steps(self, throughput: Throughput, now: float) -> tuple[int, int]:
        """Return the steps and evaluations that a run should have at the speed that was measured."""
        left = self.deadline - now - SECONDS_TO_LEAVE
        return throughput.steps_within(left, self.max_steps)

    def start(self, step: int) -> None:
        """Take the pace from now on; `step` steps are taken."""
        self._pace_from = (time.monotonic(), step)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether it is time to look at the pace, after `step` of `steps`."""
        return step - self._pace_from[1] >= max(1, steps // CHECKS)

    def adjust_to_deadline(self, config: TrainConfig, step: int) -> int:
        """Return the steps that a run under way should have, so that it ends in time.

        They stay as they are if there is nearly nothing to gain, and towards the end, for the
        learning rate is to come down to its floor in peace.

        Args:
            config: Of the run; its `steps` are what it has now.
            step: Steps taken.
        """
        (then, before), planned, now = self._pace_from, config.steps, time.monotonic()
        self._pace_from = (now, step)
        if step > ADJUSTED_UNTIL * planned or config.seq_len_start is not None:
            return planned
        pace = (step - before) / max(1e-9, now - then)
        left = (self.deadline - self.reserved_seconds - now) * pace
        steps = min(self.max_steps, step + max(1, int(left)))
        return steps if abs(steps - planned) > ADJUSTED_FROM * planned else planned


def choose_threads(
    measure: Callable[[], Throughput], config: TrainConfig, group: ProcessGroup
) -> tuple[Throughput, int | None]:
    """Return the throughput, and the number of threads to train with; None is torch's default.

    Threads wait for each other at every step, so that one whose core another program uses holds up
    all: on a machine that was busy lately, as many as its idle cores are tried too, and are taken if
    that is clearly faster.
    """
    throughput, every, few = measure(), prepare_cpu(None), idle_cores()
    on_cpu = choose_device(config.device).type == "cpu"
    if config.threads is not None or group.size > 1 or not on_cpu or few >= every:
        return throughput, config.threads
    prepare_cpu(few)
    other = measure()
    if other.step < CLEARLY_FASTER * throughput.step:
        return other, few
    prepare_cpu(every)
    return throughput, None
