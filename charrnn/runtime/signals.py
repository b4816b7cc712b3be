"""Stopping in good order: a signal sets a flag, and the run looks at it between two steps.

Nothing is saved inside a handler: it could interrupt a save that is under way.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from charrnn.errors import InterruptedRun

# Ctrl-C, the polite kill, and a terminal that was closed (which Windows does not know).
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
# A progress bar stands there and hides the cursor, and a process that ends at once cannot tidy up.
CLEAR_LINE, SHOW_CURSOR = b"\r\x1b[2K", b"\x1b[?25h"


@contextmanager
def stop_requests(announce: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Give a function that returns the number of the signal that asked to stop, or None.

    Until it is called for the first time, nobody looks at the flag and there is nothing to be saved:
    a signal raises `InterruptedRun` wherever the process is. From then on the first signal is
    announced and remembered; the second one ends the process at once, which is safe because every
    file is written whole before it gets its name. A signal that is ignored (nohup, a job in the
    background) stays so.

    Args:
        announce: Called in the handler; may write a line, and nothing else.
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
    """Let a signal end the process wherever it is.

    There is nothing to be saved, and no file half written. An exception could come in the middle of
    drawing a progress bar, and then nobody could stop that in good order.
    """
    with _handled(lambda number, frame: exit_now(number)):
        yield


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_now(number: int) -> None:
    """End the process with the exit code of a signal, and nothing else."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, CLEAR_LINE + SHOW_CURSOR)
    os._exit(128 + number)
