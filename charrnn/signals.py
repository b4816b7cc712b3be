"""Stopping in good order: a signal sets a flag, and the run looks at it between two steps.

Nothing is saved inside a handler: it could interrupt a save that is under way.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests(announce: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Give a function that returns the number of the signal that asked to stop, or None.

    The first Ctrl-C or SIGTERM is announced and remembered; the second one ends the process at once, which is safe
    because every file is written whole before it gets its name.

    Args:
        announce: Called in the handler; may write a line, and nothing else.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        announce()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
