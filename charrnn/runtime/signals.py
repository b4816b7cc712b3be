"""Orderly stopping: a signal ends the process in one line, or sets a flag that the run checks.

Nothing is saved inside a signal handler, which may have interrupted a save.

Python runs a handler between two of its instructions, so not while one call of a library computes.
Where that may take long, a thread waits beside the handler, and ends the process in its place.
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
GRACE = 1.0  # seconds for a handler to run and what it raises to arrive
BEFORE_THE_FIRST_STEP = "Stopped before the first step."

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def stop_requests(announce: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the number of the signal that asked to stop, or None.

    Until that function is first called, nothing has to be saved, and a signal raises
    `InterruptedRun` wherever the process is; if that does not end it soon, or a module is being
    imported, the process is ended. After that, the first signal is announced and remembered; a
    second one ends the process at once, which is safe because files are replaced atomically.
    Signals that are ignored (nohup, background jobs) stay ignored.

    Args:
        announce: Called in the signal handler; may write a line, but nothing else.
    """
    received: list[int] = []
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        if received or (not asked and _is_importing(frame)):
            exit_now(number)
        received.append(number)
        if not asked:
            raise InterruptedRun(BEFORE_THE_FIRST_STEP, signal_number=number)
        with suppress(OSError):  # the terminal may be gone
            announce()

    def requested() -> int | None:
        nonlocal asked
        asked = True
        return received[0] if received else None

    with _handled(handle, watched=lambda: not asked):
        try:
            yield requested
        except Exception as error:  # whatever a library has made of the one that was raised in it
            if asked or not received or isinstance(error, InterruptedRun):
                raise
            message = BEFORE_THE_FIRST_STEP
            raise InterruptedRun(message, signal_number=received[0]) from error


@contextmanager
def exit_at_once() -> Iterator[None]:
    """Let a signal end the process at once, for commands that have nothing to save.

    An exception could be raised in the middle of drawing a progress bar, which could then not be
    closed properly.
    """
    with _handled(lambda number, frame: exit_now(number), watched=lambda: True):
        yield


@contextmanager
def keyboard_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt`, for a conversation that goes on after it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_on_signals() -> None:
    """From now on, let a signal end the process at once, unless a block handles it otherwise."""
    for number in _active():
        signal.signal(number, lambda number, frame: exit_now(number, before=b"\n"))


def _active() -> list[int]:
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _handled(handle: Handler, watched: Callable[[], bool]) -> Iterator[None]:
    """Handle signals in a block.

    Args:
        handle: The handler.
        watched: Whether to end the process if the block has not ended soon after a signal.
    """
    before = {number: signal.signal(number, handle) for number in _active()}
    try:
        with _watchdog(watched):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watchdog(watched: Callable[[], bool]) -> Iterator[None]:
    """Keep a thread that ends the process if a block goes on `GRACE` seconds after a signal."""
    import socket
    import threading

    ours, theirs = socket.socketpair()  # Windows needs a socket here
    theirs.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        while (byte := ours.recv(1)) and not ended.is_set():
            if byte[0] in SIGNALS and not ended.wait(GRACE) and watched():
                exit_now(byte[0])

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        theirs.close()
        thread.join()
        ours.close()


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported, which cannot be interrupted cleanly."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def exit_now(number: int, before: bytes = CLEAR_LINE + SHOW_CURSOR) -> None:
    """End the process with a line and the exit code of a signal, without any clean-up.

    Args:
        number: The signal.
        before: What a terminal gets before the line.
    """
    line = f"charrnn: Stopped by {signal.Signals(number).name}.\n".encode()
    with suppress(OSError):
        os.write(2, before + line if os.isatty(2) else line)
    os._exit(128 + number)
