"""A training as a whole, from what is asked for to its end, as one stream of events."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from charrnn.data.text import OnProgress, no_progress
from charrnn.runtime.rendezvous import process_group
from charrnn.training.events import Note, RunEvent
from charrnn.training.inputs import RunInputs, read_inputs
from charrnn.training.request import TrainRequest


def training_events(
    request: TrainRequest,
    *,
    should_stop: Callable[[], int | None] = lambda: None,
    on_progress: OnProgress = no_progress,
    plan_only: bool = False,
) -> Iterator[RunEvent]:
    """Train a model, or continue a run that was interrupted, and yield what happens.

    If torchrun has started this process as one of several, they train together.

    Args:
        request: What is asked for.
        should_stop: Asked after every step; the number of a signal ends the run in good order.
        on_progress: Is told how far the text is read.
        plan_only: Plan a new run, with an estimate of its time; train and write nothing.

    Raises:
        UsageError: The settings contradict each other, or what began the run in the folder.
        TextError: The text cannot be read or used.
        ModelFileError: The state to continue from, or the model to start from, is not good.
        MachineError: The disk, the memory, the device or another process fails.
        DivergedError: The numbers are no longer finite; what was saved before is good.
        InterruptedRun: `should_stop` gave a signal; everything is saved.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        device, backend = (request.settings.get(name, "auto") for name in ("device", "backend"))
        group = stack.enter_context(process_group(device, backend))
        locks = group.is_main and not plan_only
        inputs = group.agree(
            lambda: read_inputs(request, group, stack, on_progress, locks=locks),
            RunInputs.fingerprint,
            "Give every rank the same options and the same text.",
        )
        yield from (Note(note) for note in inputs.notes)
        from charrnn.training.setup import open_run  # here: a wrong name is told before torch comes

        run = yield from open_run(request, inputs, group, plan_only=plan_only, started=started)
        if run is not None:
            yield from run.train(should_stop)
