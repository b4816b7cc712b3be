"""What a person sees of a text being read, if that takes more than a moment.

A bar, or in a pipe plain lines.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from charrnn.data.text import Text
from charrnn.terminal.console import megabytes

SECONDS_BEFORE_LINES = 1.0
SECONDS_BETWEEN_LINES = 5.0


class ReadingView:
    """Shows how far a text was read; a bar is gone when the block ends.

    Args:
        console: Where.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.next_line = time.monotonic() + SECONDS_BEFORE_LINES
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        """Begin; nothing is drawn before it is worth the while."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            with suppress(OSError):
                try:
                    self.bar.stop()
                except IndexError:  # a signal came while it was begun: the cursor is hidden, and the rest is not there
                    self.console.show_cursor()

    def measured(self, done: int, total: int | None) -> None:
        """Show that `done` bytes of about `total` were read."""
        if time.monotonic() >= self.next_line:
            self._show(
                f"Reading {megabytes(done if total is None else max(done, total))}", done, total
            )

    def passing(self, what: str, text: Text) -> Iterator[str]:
        """Yield the chunks of a text, and show how far it was read, and what for."""
        done = 0
        for chunk in text.chunks():
            yield chunk
            done += len(chunk)
            if time.monotonic() >= self.next_line:
                self._show(what, done, text.characters)

    def _show(self, what: str, done: int, total: int | None) -> None:
        if self.quiet:
            return
        with suppress(OSError):  # a terminal that is gone ends nothing
            if self.console.is_interactive and self.console.is_terminal:
                self._move_bar(what, done, total)
            else:
                self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                self.console.print(
                    f"{what} ..." if total is None else f"{what} ... {min(1, done / total):.0%}"
                )

    def _move_bar(self, what: str, done: int, total: int | None) -> None:
        self.next_line = time.monotonic() + 0.1
        if self.bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
            )
            self.bar = Progress(
                *columns, console=self.console, transient=True, refresh_per_second=4
            )
            self.task = self.bar.add_task(what)
            self.bar.start()
        self.bar.update(self.task, description=what, completed=done, total=total)
