"""The number of CPU threads, beside other programs that compute.

Threads wait for each other at every step, so a single core that another program uses delays all of
them: fewer threads may be faster.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from charrnn.runtime.device import cores

LOAD = Path("/proc/loadavg")
LOOKS, BETWEEN_LOOKS = 9, 0.005  # at the tasks that run, and the seconds before each
ROUNDS = 5  # of a measurement


def idle_cores() -> int:
    """Return the number of CPU cores that no other program computes on, but at least 1.

    On Linux that is so at this moment, elsewhere it was so in the last minute.
    """
    try:
        busy = statistics.median_low(running_tasks() for _ in range(LOOKS)) - 1  # without this one
    except (OSError, ValueError, IndexError):  # not Linux
        busy = load_average()
    return max(1, min(cores(), (os.cpu_count() or 1) - busy))


def running_tasks() -> int:
    """Return the number of tasks on the machine that run or wait for a core, a moment from now."""
    time.sleep(BETWEEN_LOOKS)
    return int(LOAD.read_text().split()[3].split("/")[0])


def load_average() -> int:
    """Return the number of tasks that ran in the last minute, on average; 0 if it is unknown."""
    try:
        return round(os.getloadavg()[0])
    except (AttributeError, OSError):
        return 0


def use_idle_cores(work: Callable[[], object]) -> None:
    """Let torch use one thread for each idle core, if there are fewer and `work` is then faster."""
    usual, idle = torch.get_num_threads(), idle_cores()
    if idle >= usual:
        return
    seconds = {}
    for threads in (usual, idle):
        torch.set_num_threads(threads)
        work()  # the first call is slow
        begin = time.perf_counter()
        for _ in range(ROUNDS):
            work()
        seconds[threads] = time.perf_counter() - begin
    torch.set_num_threads(min(seconds, key=lambda threads: seconds[threads]))
