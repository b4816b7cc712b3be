"""`charrnn train`: read, plan or continue, train, and say what to do next."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from charrnn.commands.opening import open_session
from charrnn.commands.train_options import TrainOptions
from charrnn.config.schema import check_settings
from charrnn.errors import InterruptedRun
from charrnn.model.shapes import parameter_count
from charrnn.runtime.distributed import Ranks, joined
from charrnn.runtime.signals import stop_at_once, stop_requests
from charrnn.terminal import console
from charrnn.terminal.training_progress import TrainingView

if TYPE_CHECKING:
    from charrnn.training.plan import Plan
    from charrnn.training.run import Session


def train(options: TrainOptions) -> None:
    """Train a model, or continue a run that was interrupted.

    As one of several ranks, if torchrun has started it.
    """
    check_settings(options.settings)
    device, backend = (options.settings.get(name, "auto") for name in ("device", "backend"))
    with ExitStack() as stack:
        with stop_at_once():
            ranks = stack.enter_context(joined(device, backend))
            view = stack.enter_context(TrainingView(quiet=options.quiet, silent=not ranks.first))
            session, plan = open_session(options, ranks, view, stack)
        if session is not None and not session.trainer.finished:
            stop = stack.enter_context(stop_requests(view.announce_stop))
            view.start(session)
            for event in resumable(session.run(stop), ranks):
                view.show(event)
    if not ranks.first:
        return
    if session is None:
        show_dry_run(plan, as_json=options.json)
    else:
        finish(session, view, as_json=options.json)


def resumable(events: Iterator[Any], ranks: Ranks) -> Iterator[Any]:
    """Pass events on; if the run is interrupted, say how to go on with it."""
    try:
        yield from events
    except InterruptedRun as interruption:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        start = "the same torchrun, and " if ranks.size > 1 else ""
        interruption.hint = f"Continue with: {start}{shlex.join(['charrnn', *again])}"
        raise


def finish(session: "Session", view: TrainingView, *, as_json: bool) -> None:
    """Say where the model is, how good it is, and what to type next."""
    progress, folder = session.trainer.progress, session.folder
    view.say(
        f"Best model: {folder.model}, step {progress.best_step:,}, validation {progress.best_nats:.4f} nats per token, "
        f"{session.summary()['valid_bits_per_char']:.3f} bits per character"
    )
    view.say(f"Next: charrnn sample {shlex.quote(str(folder.path))}")
    if as_json:
        console.write_json(session.summary())


def show_dry_run(plan: "Plan", *, as_json: bool) -> None:
    """Write what a run would need."""
    facts = {
        "parameters": parameter_count(plan.model),
        "memory_bytes": plan.memory_bytes,
        "steps": plan.train.steps,
        "epochs": plan.epochs,
        "seconds": plan.total_seconds,
    }
    if as_json:
        console.write_json(facts | {"model": plan.model.to_dict(), "train": plan.train.to_dict()})
        return
    rows = [
        ("parameters", f"{facts['parameters']:,}"),
        ("memory", f"about {console.megabytes(plan.memory_bytes)} beside torch itself"),
        ("steps", f"{plan.train.steps:,}, {plan.epochs:.1f} epochs"),
        ("time", f"about {console.duration(plan.total_seconds or 0)}"),
    ]
    console.write_table(rows, "Nothing was trained or written. The run would have:")
