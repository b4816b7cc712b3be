"""Progress of what takes longer than a second: a bar with the time left, or lines in a pipe."""

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from charrnn.terminal.tables import format_duration

SECONDS_BEFORE_LINES = 1.0
SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_UPDATES = 0.1
MIN_ELAPSED = 0.5  # seconds, from which the time left is estimated


class ReadingProgress:
    """Shows how far a text is read; an instance is the `on_progress` of `read_text`.

    Args:
        console: Where to show it.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.what, self.done, self.next_line, self.began, self.first = "", 0, 0.0, 0.0, 0
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        """Return this; nothing is drawn before the first second is over."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self.hide()

    def hide(self) -> None:
        """Remove the bar until there is more to show."""
        bar, self.bar = self.bar, None
        if bar is None:
            return
        with suppress(OSError):
            try:
                bar.stop()
            except IndexError:  # a signal interrupted its start, and only the cursor is hidden
                self.console.show_cursor()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show progress if it takes a while.

        Args:
            what: A label for what is being done; the time counts from the first call with its first
                word.
            done: How much is done. If that is not more than before, it is done once more, and the
                time counts from now on.
            total: About how much there is in all, if known. When that is done, the bar goes.
        """
        kind = what.split()[0]
        if kind != self.what or done <= self.done:
            self.what, self.began, self.first = kind, time.monotonic(), done
            self.next_line = self.began + SECONDS_BEFORE_LINES
        self.done = done
        if done == total:
            self.hide()
        if self.quiet or time.monotonic() < self.next_line:
            return
        with suppress(OSError):  # a closed terminal must not end the reading
            if self.console.is_interactive and self.console.is_terminal:
                if done != total:
                    self._update_bar(what, done, total)
            else:
                self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                percent = f" {min(1, done / total):.0%}" if total else ""
                left = self.time_left(done, total)
                self.console.print(f"{what} ...{percent}{left and f', {left}'}")

    def _update_bar(self, what: str, done: int, total: int | None) -> None:
        self.next_line = time.monotonic() + SECONDS_BETWEEN_UPDATES
        if self.bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[left]}", markup=False),
            )
            bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
            self.task = bar.add_task(what, left="")
            self.bar = bar
            bar.start()
        left = self.time_left(done, total)
        self.bar.update(self.task, description=what, completed=done, total=total, left=left)

    def time_left(self, done: int, total: int | None) -> str:
        """Return about how long it will still take, in words; empty if that is not known."""
        elapsed = time.monotonic() - self.began
        if elapsed < MIN_ELAPSED or not total or not self.first < done < total:
            return ""
        seconds = elapsed * (total - done) / (done - self.first)
        return f"{format_duration(seconds)} left"
