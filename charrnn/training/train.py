"""Training from the request to the end of the run, as one stream of events."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import UsageError
from charrnn.runtime.distributed import ProcessGroup
from charrnn.runtime.machine import check_address_space
from charrnn.runtime.rendezvous import process_group
from charrnn.training import members
from charrnn.training.events import RunEvent
from charrnn.training.inputs import resumed
from charrnn.training.request import TrainRequest
from charrnn.training.session import SAME, Session


def training_events(
    asked: TrainRequest,
    *,
    should_stop: Callable[[], int | None] = lambda: None,
    on_progress: OnProgress = no_progress,
    plan_only: bool = False,
) -> Iterator[RunEvent]:
    """Train a model or continue an interrupted run, and yield events.

    If torchrun has started this process as one of several, they train together.

    Args:
        asked: What was requested.
        should_stop: Called after every step and during evaluations; returning a signal's
            number saves and ends the run.
        on_progress: Called while the text is read.
        plan_only: Plan a new run and estimate its time, but do not train or write anything.

    Raises:
        UsageError: The settings contradict each other, or differ from those of the run in the
            folder.
        TextError: The text cannot be read or used.
        ModelFileError: The state to continue from or the model to start from cannot be used.
        MachineError: The disk, the memory, the device or another process fails.
        DivergedError: Loss or gradient are no longer finite; earlier saves are good.
        InterruptedRun: `should_stop` returned a signal; everything is saved.
    """
    started = time.monotonic()
    if asked.teacher is not None and asked.members is not None:
        raise UsageError("`members` are a `teacher` already.", "Leave one out.")
    check_address_space()
    with ExitStack() as stack:
        device, backend = (asked.settings.get(name, "auto") for name in ("device", "backend"))
        group = stack.enter_context(process_group(device, backend))
        group.check_same({"`resume`": str(asked.resume)}, SAME)
        request = asked if asked.resume is None else resumed_by_all(asked, group)
        session = Session(group, should_stop, on_progress, plan_only)
        yield from members.train(request, session, started)


def resumed_by_all(asked: TrainRequest, group: ProcessGroup) -> TrainRequest:
    """Return the whole request of a run that is continued by its folder, which one process reads.

    Raises:
        CharRNNError: See `charrnn.training.inputs.resumed`; also if the options of ranks differ.
    """
    options = " ".join(f"`{name}` {value}" for name, value in sorted(asked.requested().items()))
    group.check_same({"The options": options or "none"}, SAME)
    return group.on_main(lambda: resumed(asked))
