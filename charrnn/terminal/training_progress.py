"""Progress of training: a live bar on a terminal, lines in a pipe or with TERM=dumb."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TextColumn
from rich.status import Status
from rich.table import Column

from charrnn.errors import counted
from charrnn.model.shapes import describe_shapes, describe_size
from charrnn.terminal.console import hanging, stderr_console
from charrnn.terminal.escape import visible
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import describe_batch, format_duration, model_features
from charrnn.training.events import (
    Busy,
    Evaluated,
    Note,
    Part,
    Planned,
    Rescheduled,
    RunEvent,
    Sampled,
    SaveFailed,
    ScoredWhole,
    Started,
    TextRead,
    Trained,
)

SECONDS_BETWEEN_LINES = 5.0
INDENT = 8  # of the lines that continue one about the text or the plan
STOPPING = b"\nStopping after this step, and saving... (again to stop now, without saving)\n"


class TrainingProgress:
    """Shows the events of a run.

    Attributes:
        reading: Shows how far the text is read.

    Args:
        quiet: Show only warnings.
        silent: Show nothing.
    """

    def __init__(self, *, quiet: bool, silent: bool = False) -> None:
        self.console = stderr_console()
        self.quiet, self.silent = quiet or silent, silent
        self.reading = ReadingProgress(self.console, quiet=self.quiet)
        self.bar: Progress | None = None
        self.spinner: Status | None = None
        self.started = Started(0, 0, 0, 1.0)
        self.steps = 0
        self.valid = self.part = ""
        self.began = self.last_line = 0.0

    def __enter__(self) -> Self:
        """Return this; nothing is drawn yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove all bars."""
        self.reading.hide()
        self.hide_spinner()
        self.hide_bar()

    def hide_bar(self) -> None:
        """Remove the bar of the steps."""
        bar, self.bar = self.bar, None
        if bar is not None:
            with suppress(OSError):
                bar.stop()

    def hide_spinner(self) -> None:
        """Remove what says that something is being done."""
        spinner, self.spinner = self.spinner, None
        if spinner is not None:
            with suppress(OSError):
                spinner.stop()

    def say(self, text: str, indent: int = 2) -> None:
        """Write text above the bar; lines that have to be continued are indented."""
        if not self.quiet:
            self.console.print(hanging(visible(text), self.console, indent))

    def warn(self, text: str) -> None:
        """Write a warning, also if quiet."""
        if not self.silent:
            warning = hanging(f"warning: {visible(text)}", self.console)
            self.console.print(warning, style="yellow")

    def announce_stop(self) -> None:
        """Acknowledge a signal; it may arrive while drawing, so this writes directly to stderr."""
        if not self.silent:
            os.write(2, STOPPING)

    def show(self, event: RunEvent) -> None:
        """Show an event; a terminal that is closed does not end the run."""
        handlers: dict[type, Callable[[Any], None]] = {
            Note: self.show_note,
            TextRead: self.show_text,
            Part: self.show_part,
            Planned: self.show_plan,
            Started: self.show_start,
            Trained: self.show_trained,
            Evaluated: self.show_evaluated,
            ScoredWhole: self.show_scored_whole,
            Busy: self.show_busy,
            Rescheduled: self.show_rescheduled,
            Sampled: self.show_sampled,
            SaveFailed: self.show_save_failed,
        }
        self.reading.hide()
        self.hide_spinner()
        if type(event) in handlers:
            with suppress(OSError):
                handlers[type(event)](event)

    def show_note(self, event: Note) -> None:
        """Write a note or a warning."""
        (self.warn if event.warning else self.say)(event.text)

    def show_text(self, event: TextRead) -> None:
        """Write the size of the text that was read."""
        self.say(
            f"Text    {event.name}: {counted(event.characters, 'character')} to train on, "
            f"{event.valid_characters:,} to validate; "
            f"{counted(event.vocab_size, f'{event.tokenizer} symbol')}",
            INDENT,
        )
        if event.records:
            records = counted(event.records, "record")
            self.say(f"{'':8}{records} to train on, {event.valid_records:,} to validate", INDENT)
        if event.unknown:
            what = counted(event.unknown, "character")
            where = "of the validation text not in the training text"
            self.say(f"{'':8}{what} {where}", INDENT)

    def show_part(self, event: Part) -> None:
        """Say which of several runs comes next, and begin anew."""
        self.part, self.valid = f"{event.name}, ", ""
        self.hide_bar()
        self.say(f"--- {event.name} ---")

    def show_plan(self, event: Planned) -> None:
        """Write what will be trained, and how."""
        if event.members:
            what = "that differ in their seeds, then the model, which learns from them"
            self.say(f"Plan    {event.members} members {what}", INDENT)
            return
        plan, model, train = event.plan, event.plan.model, event.plan.train
        features = [f"dropout {model.dropout:g}"] if model.dropout else []
        features += model_features(vars(model))
        sizes = describe_shapes([model]), describe_size(model)
        self.say(f"Model   {', '.join([*sizes, *features])}", INDENT)
        if teachers := describe_shapes(event.teachers):
            weight = f"weight {train.teacher_weight:g} in the loss"
            self.say(f"Teacher {teachers}, {weight}", INDENT)
        self.say(f"Device  {event.estimate.device}, {plan.precision}, seed {train.seed}", INDENT)
        if model.source is not None:
            batches = "pairs of like length together"
        else:
            batches = "records packed by length" if train.records else f"{train.batcher} batches"
        seconds = event.estimate.seconds
        needed = f", about {format_duration(seconds)}" if seconds else ""
        self.say(
            f"Train   {counted(train.steps, 'step')} of {describe_batch(model, train)}, "
            f"{plan.epochs:.1f} epochs, {batches}, {train.optimizer}, "
            f"learning rate {train.lr:g}{needed}",
            INDENT,
        )

    def show_start(self, event: Started) -> None:
        """Start to show progress."""
        self.started, self.steps = event, event.steps
        self.began = self.last_line = time.monotonic()
        if self._is_live():
            self.bar = self._new_bar()
            words = self.part + self.position(event.step)
            self.task = self.bar.add_task(words, total=event.steps, status="")
            self.bar.update(self.task, completed=event.step)
            self.bar.start()

    def _is_live(self) -> bool:
        return self.console.is_interactive and self.console.is_terminal and not self.quiet

    def _new_bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            refresh_per_second=4,
            expand=True,
        )

    def position(self, step: int, left: float | None = None) -> str:
        """Return how far a run is, in words; `left` is the time left in seconds."""
        remaining = "" if left is None else f", {format_duration(left)} left"
        return f"step {step:,} of {self.steps:,}{remaining}"

    def show_busy(self, event: Busy) -> None:
        """Say on a terminal what is being done until the next event."""
        if self.bar is not None:
            self.bar.update(self.task, status=event.what.lower())
        elif self._is_live():
            self.spinner = self.console.status(f"{event.what} ...", spinner="line")
            self.spinner.start()

    def show_trained(self, event: Trained) -> None:
        """Update the bar, or write a line every few seconds where there is no bar."""
        now, start = time.monotonic(), self.started
        elapsed = max(1e-9, now - self.began)
        speed = (event.tokens - start.tokens) * start.characters_per_token / elapsed
        status = f"loss {event.loss:.3f}{self.valid}  {speed:,.0f} char/s"
        left = (self.steps - event.step) * elapsed / max(1, event.step - start.step)
        position = self.part + self.position(event.step, left)
        if self.bar is not None:
            self.bar.update(self.task, completed=event.step, description=position, status=status)
        elif now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self.say(f"{position}  {status}")

    def show_rescheduled(self, event: Rescheduled) -> None:
        """Say that there are more or fewer steps now, and why."""
        how = "faster" if event.steps > self.steps else "slower"
        self.steps = event.steps
        if self.bar is not None:
            self.bar.update(self.task, total=event.steps)
        steps = counted(event.steps, "step")
        self.say(f"The machine is {how} than expected: {steps} now, to end in time.")

    def show_evaluated(self, event: Evaluated) -> None:
        """Write the validation score, with a mark if it is the best so far."""
        nats, bits = event.score.nats_per_token, event.score.bits_per_char
        self.valid = f"  valid {nats:.3f}"
        best = "  (best so far)" if event.best else ""
        self.say(
            f"{self.position(event.step)}  valid {nats:.4f} nats/token  {bits:.3f} bits/char{best}"
        )

    def show_scored_whole(self, event: ScoredWhole) -> None:
        """Write the best model's score of the whole validation text."""
        self.say(
            f"step {event.step:,}, on the whole validation text: "
            f"valid {event.score.nats_per_token:.4f} nats/token  "
            f"{event.score.bits_per_char:.3f} bits/char"
        )

    def show_sampled(self, event: Sampled) -> None:
        """Write a short sample."""
        self.say(f"--- sample at step {event.step:,} ---\n{event.text}\n---")

    def show_save_failed(self, event: SaveFailed) -> None:
        """Warn that a save failed."""
        self.warn(f"{event.error.message} Training continues.")
