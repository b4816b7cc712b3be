"""Whole commands in processes of their own, which can be killed without regret.

A process is forked from this one, which has torch in memory already: importing it anew would take
seconds each time.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

import charrnn.__main__
from charrnn.training import setup  # noqa: F401 (imported here once, and not in each process)

PATIENCE = 60.0  # seconds after which a process counts as hanging
EXIT_CODES = {0, 2, 3, 4, 5, 6}  # what may happen to a run that nobody interrupts; 1 would be a bug

torch.set_num_threads(1)  # threads do not survive a fork


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code, or minus the number of the signal that killed it.
        stderr: What it wrote there.
        seconds: How long it took.
    """

    code: int
    stderr: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass(frozen=True)
class Command:
    """A `charrnn` command line, to be run in folders of one's choice."""

    words: list[str]

    def on(self, folder: Path, *more: str) -> list[str]:
        return [*self.words, "--out", str(folder), *more]


def warm_up(words: list[str]) -> None:
    """Run a command in this very process."""
    assert charrnn.__main__.run(words) == 0


def run(
    words: list[str],
    during: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    kill_after: float | None = None,
) -> Ended:
    """Run a command in a process.

    Args:
        words: The command line.
        during: Makes a context to run it in, which may break or kill it.
        kill_after: Seconds after which it is killed, if it has not ended before.
    """
    # without this the process would copy most of this one's memory at its first collection
    gc.freeze()
    reader, writer = os.pipe()
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        _be(words, during, writer)
    os.close(writer)
    ended = _wait(process, kill_after)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
        return Ended(ended, pipe.read(), time.monotonic() - began)


def _be(
    words: list[str], during: Callable[[], AbstractContextManager[object]], stderr: int
) -> None:
    """Be the forked process: never return, whatever happens."""
    code = 99
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
        with during():
            code = charrnn.__main__.run(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(process: int, kill_after: float | None) -> int:
    """Return the exit code; kill the process at its time, and fail if it hangs."""
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    given_up = time.monotonic() + PATIENCE
    while time.monotonic() < given_up:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise AssertionError(f"The process hangs: it did not end in {PATIENCE:g} seconds.")
