"""What a person sees of a text being read, if that takes more than a moment.

A bar, or in a pipe plain lines.
"""

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BEFORE_LINES = 1.0
SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_MOVES = 0.1


class ReadingProgress:
    """Shows how far a text was read; it is what `charrnn.data.text.read_text` tells about that.

    Args:
        console: Where.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.what, self.next_line = "", 0.0
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
        self.hide()

    def hide(self) -> None:
        """Remove the bar, until there is more to show."""
        bar, self.bar = self.bar, None
        if bar is None:
            return
        with suppress(OSError):
            try:
                bar.stop()
            except IndexError:  # a signal came while it began: the cursor is hidden, no more
                self.console.show_cursor()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show that `what` is done as far as `done` of about `total`, if it takes a while."""
        kind = what.split()[0]
        if kind != self.what:
            self.what, self.next_line = kind, time.monotonic() + SECONDS_BEFORE_LINES
        if self.quiet or time.monotonic() < self.next_line:
            return
        with suppress(OSError):  # a terminal that is gone ends nothing
            if self.console.is_interactive and self.console.is_terminal:
                self._move_bar(what, done, total)
            else:
                self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                share = "" if total is None else f" {min(1, done / total):.0%}"
                self.console.print(f"{what} ...{share}")

    def _move_bar(self, what: str, done: int, total: int | None) -> None:
        self.next_line = time.monotonic() + SECONDS_BETWEEN_MOVES
        if self.bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
            )
            bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
            self.task = bar.add_task(what)
            self.bar = bar
            bar.start()
        self.bar.update(self.task, description=what, completed=done, total=total)
