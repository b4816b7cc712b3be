"""Orderly stopping: a signal sets a flag, which the run checks between two steps.

Nothing is saved inside a signal handler, which may have interrupted a save.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from charrnn.errors import InterruptedRun

# Ctrl-C, kill, and closing the terminal (which has no signal on Windows).
SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name)]
# A process that exits at once has to remove its progress bar and show the cursor again itself.
CLEAR_LINE, SHOW_CURSOR = b"\r\x1b[2K", b"\x1b[?25h"


@contextmanager
def stop_requests(announce: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the number of the signal that asked to stop, or None.

    Until that function is first called, nothing has to be saved, and a signal raises
    `InterruptedRun` wherever the process is. After that, the first signal is announced and
    remembered; a second one ends the process at once, which is safe because files are replaced
    atomically. Signals that are ignored (nohup, background jobs) stay ignored.

    Args:
        announce: Called in the signal handler; may write a line, but nothing else.
    """
    received: list[int] = []
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        if not asked:
            raise InterruptedRun("Stopped before the first step.", signal_number=number)
        if received:
            exit_now(number)
        received.append(number)
        with suppress(OSError):  # the terminal may be gone
            announce()

    def requested() -> int | None:
        nonlocal asked
        asked = True
        return received[0] if received else None

    with _handled(handle):
        yield requested


@contextmanager
def exit_at_once() -> Iterator[None]:
    """Let a signal end the process at once, for commands that have nothing to save.

    An exception could be raised in the middle of drawing a progress bar, which could then not be
    closed properly.
    """
    with _handled(lambda number, frame: exit_now(number)):
        yield


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    active = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in active}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_now(number: int) -> None:
    """End the process with the exit code of a signal, without any clean-up."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, CLEAR_LINE + SHOW_CURSOR)
    os._exit(128 + number)
