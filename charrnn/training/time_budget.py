"""The time budget of a run: how many steps fit into it, and how many threads to use."""

import time
from collections.abc import Callable

from charrnn.config.training import TrainConfig
from charrnn.runtime.device import choose_device, prepare_cpu
from charrnn.runtime.distributed import ProcessGroup
from charrnn.runtime.threads import idle_cores
from charrnn.training.throughput import Throughput

UNLIMITED = 1 << 40  # steps
# Reserved for the last save and the exit: the seconds at least, and a multiple of what it takes to
# write a model, as that save writes the training state too, and checks the one before.
SECONDS_TO_SAVE, LAST_SAVE = 1.0, 3.0
CHECKS = 10  # how often a run checks its speed
# Other programs come and go, so a forecast is the less certain the more of the run is ahead. The
# smallest change of the steps that is made, as a fraction of them, is this at the end of the run,
MIN_CHANGE = 0.02
UNCERTAINTY = 0.2  # and this much larger at its beginning
SMOOTHING = 0.5  # weight of the pace since the last check beside that of the checks before
LAST_CHANGE = 0.8  # fraction of the run after which its number of steps stays the same
CLEARLY_FASTER = 0.8  # another number of threads is used if a step takes less than this fraction


class TimeBudget:
    """The time at which a run has to end, and the number of steps that it allows.

    Args:
        deadline: `time.monotonic()` at which the command should end.
        max_steps: The most steps, even if there is time for more.
        evaluation: Seconds reserved for the evaluations after the last step.
    """

    def __init__(self, deadline: float, max_steps: int, evaluation: float) -> None:
        self.deadline, self.max_steps, self.evaluation = deadline, max_steps, evaluation
        self._begin = 0  # steps taken before the time began
        self._last_check = (time.monotonic(), 0)  # the time, and the steps taken by then
        self._pace: float | None = None  # smoothed seconds per step

    def start(self, step: int) -> None:
        """Measure the speed from now on, after `step` steps."""
        self._begin, self._last_check = step, (time.monotonic(), step)

    def is_due(self, step: int, steps: int) -> bool:
        """Return whether it is time to check the speed, after `step` of `steps` steps."""
        return step - self._last_check[1] >= max(1, (steps - self._begin) // CHECKS)

    def reserved_seconds(self, writing: float = 0.0) -> float:
        """Return the seconds reserved for what comes after the last step.

        Args:
            writing: Seconds that it took to write a model.
        """
        return self.evaluation + max(SECONDS_TO_SAVE, LAST_SAVE * writing)

    def adjust_to_deadline(self, config: TrainConfig, step: int, writing: float = 0.0) -> int:
        """Return the number of steps with which a run in progress ends in time.

        The speed is smoothed. The number stays the same if the change would be small, which it has
        to be less and less as the run proceeds, and towards the end of the run, so that the
        learning rate decays as planned.

        Args:
            config: The run's settings, with its current number of steps.
            step: Steps taken.
            writing: Seconds that it took to write a model.
        """
        (then, before), planned, now = self._last_check, config.steps, time.monotonic()
        self._last_check = (now, step)
        late = step - self._begin > LAST_CHANGE * (planned - self._begin)
        if late or config.seq_len_start is not None:
            return planned
        pace = max(1e-9, now - then) / (step - before)
        self._pace = pace if self._pace is None else self._pace + SMOOTHING * (pace - self._pace)
        left = (self.deadline - self.reserved_seconds(writing) - now) / self._pace
        steps = min(self.max_steps, step + max(1, int(left)))
        least = MIN_CHANGE * planned + UNCERTAINTY * (planned - step)
        return steps if abs(steps - planned) > least else planned


def choose_threads(
    measure: Callable[[], Throughput], config: TrainConfig, group: ProcessGroup
) -> tuple[Throughput, int | None]:
    """Return the throughput, and the number of threads to train with; None is torch's default.

    Where other programs use cores, one thread for each idle core is tried too, and is chosen if
    that is clearly faster; see `charrnn.runtime.threads`.
    """
    throughput, default, idle = measure(), prepare_cpu(None), idle_cores()
    on_cpu = choose_device(config.device).type == "cpu"
    if config.threads is not None or group.size > 1 or not on_cpu or idle >= default:
        return throughput, config.threads
    prepare_cpu(idle)
    other = measure()
    if other.step < CLEARLY_FASTER * throughput.step:
        return other, idle
    prepare_cpu(default)
    return throughput, None
