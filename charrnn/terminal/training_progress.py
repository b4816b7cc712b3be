"""What a person sees of a training.

On a terminal a live bar, in a pipe or with TERM=dumb plain lines.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from charrnn.data.id_cache import occurrences
from charrnn.model.shapes import parameter_count
from charrnn.sampling import visible
from charrnn.terminal.console import duration, stderr_console, switched_on
from charrnn.terminal.reading_progress import ReadingView

if TYPE_CHECKING:
    from charrnn.tokenizers import Tokenizer
    from charrnn.training.plan import Plan
    from charrnn.training.run import Data, Rescheduled, Sampled, Saved, SaveFailed, Session
    from charrnn.training.trainer import Evaluated, Trained

SECONDS_BETWEEN_LINES = 5.0


class TrainingView:
    """Shows a run: what it is, then how it goes.

    Args:
        quiet: Show nothing but warnings.
        silent: Show nothing at all.
    """

    def __init__(self, *, quiet: bool, silent: bool = False) -> None:
        self.console = stderr_console()
        self.quiet, self.silent = quiet or silent, silent
        self.valid = ""
        self.steps = self.first_step = self.first_tokens = 0
        self.characters_per_token = 1.0
        self.began = self.last_line = 0.0
        self.progress: Progress | None = None

    def __enter__(self) -> Self:
        """Begin; nothing is drawn before there is something to draw."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self.progress is not None:
            with suppress(OSError):
                self.progress.stop()

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        if not self.quiet:
            self.console.print(visible(text))

    def warn(self, text: str) -> None:
        """Write a warning, even if quiet."""
        if not self.silent:
            self.console.print(f"warning: {visible(text)}", style="yellow")

    def announce_stop(self) -> None:
        """Answer a signal at once.

        It may come in the middle of drawing, so this writes directly.
        """
        if not self.silent:
            os.write(
                2,
                b"\nStopping after this step, and saving... (again to stop now, without saving)\n",
            )

    def reading(self) -> ReadingView:
        """Return what shows how far a text was read."""
        return ReadingView(self.console, quiet=self.quiet)

    def show_text(self, data: "Data", tokenizer: "Tokenizer") -> None:
        """Say what was read."""
        train, valid = data.train, data.valid
        self.say(
            f"Text    {data.name}: {train.characters:,} characters to train on, {valid.characters:,} to validate; "
            f"{tokenizer.size:,} {tokenizer.kind} symbols"
        )
        if train.starts is not None and valid.starts is not None:
            self.say(
                f"        {len(train.starts):,} records to train on, {len(valid.starts):,} to validate"
            )
        unknown = occurrences(valid.ids, tokenizer.unknown) if tokenizer.unknown is not None else 0
        if unknown:
            self.say(
                f"        {unknown:,} characters of the validation text do not occur in the training text"
            )

    def show_plan(self, plan: "Plan") -> None:
        """Say what will be trained, and how."""
        model, train = plan.model, plan.train
        extras = [f"dropout {model.dropout:g}"] if model.dropout else []
        extras += switched_on(vars(model))
        shape = f"{model.cell} {model.num_layers} x {model.hidden_size}"
        self.say(f"Model   {', '.join([shape, f'{parameter_count(model):,} parameters', *extras])}")
        self.say(f"Device  {plan.device}, {plan.precision}, seed {train.seed}")
        seq_len = (
            f"{train.seq_len_start} to {train.seq_len}" if train.seq_len_start else train.seq_len
        )
        batches = "records packed by length" if train.records else f"{train.batcher} batches"
        time_needed = f", about {duration(plan.total_seconds)}" if plan.total_seconds else ""
        self.say(
            f"Train   {train.steps:,} steps of {train.batch_size} x {seq_len}, {plan.epochs:.1f} epochs, "
            f"{batches}, {train.optimizer}, learning rate {train.lr:g}{time_needed}"
        )

    def start(self, session: "Session") -> None:
        """Begin to show progress."""
        self.steps = session.plan.train.steps
        self.characters_per_token = session.data.train.characters / len(session.data.train.ids)
        self.began = self.last_line = time.monotonic()
        self.first_step, self.first_tokens = (
            session.trainer.progress.step,
            session.trainer.progress.tokens,
        )
        if self.console.is_interactive and self.console.is_terminal and not self.quiet:
            self.progress = Progress(
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
                refresh_per_second=4,
            )
            self.task = self.progress.add_task("", total=self.steps, completed=self.first_step)
            self.progress.start()

    def show(
        self, event: "Trained | Evaluated | Sampled | Saved | SaveFailed | Rescheduled"
    ) -> None:
        """Show what has happened. A terminal that is gone does not end a run: it goes on unseen."""
        painters: dict[str, Callable[[Any], None]] = {
            "Trained": self.show_trained,
            "Evaluated": self.show_evaluated,
            "Sampled": self.show_sampled,
            "SaveFailed": self.show_save_failed,
            "Rescheduled": self.show_rescheduled,
        }
        painter = painters.get(type(event).__name__)
        if painter is not None:
            with suppress(OSError):
                painter(event)

    def show_trained(self, event: "Trained") -> None:
        """Move the bar; in a pipe, write a line now and then."""
        now = time.monotonic()
        elapsed = max(1e-9, now - self.began)
        speed = (event.tokens - self.first_tokens) * self.characters_per_token / elapsed
        status = f"loss {event.loss:.3f}{self.valid}  {speed:,.0f} char/s"
        if self.progress is not None:
            self.progress.update(self.task, completed=event.step, description=status)
        elif now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (self.steps - event.step) * elapsed / (event.step - self.first_step)
            self.say(f"step {event.step:,}/{self.steps:,}  {status}  {duration(left)} left")

    def show_rescheduled(self, event: "Rescheduled") -> None:
        """Let the bar end somewhere else."""
        self.steps = event.steps
        if self.progress is not None:
            self.progress.update(self.task, total=event.steps)

    def show_evaluated(self, event: "Evaluated") -> None:
        """Write the validation score, marked if it is the best so far."""
        score = event.score
        self.valid = f"  valid {score.nats_per_token:.3f}  {score.bits_per_char:.3f} bits/char"
        self.say(
            f"step {event.step:,}/{self.steps:,}  valid {score.nats_per_token:.4f} nats/token  "
            f"{score.bits_per_char:.3f} bits/char  perplexity {score.perplexity:.3f}/token"
            + ("  (best so far)" if event.best else "")
        )

    def show_sampled(self, event: "Sampled") -> None:
        """Write a short sample."""
        self.say(f"--- sample at step {event.step:,} ---\n{event.text}\n---")

    def show_save_failed(self, event: "SaveFailed") -> None:
        """Warn of a save that failed."""
        self.warn(f"{event.error.message} Training goes on.")
