"""Training from the request to the end of the run, as one stream of events."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from charrnn.data.text import OnProgress, no_progress
from charrnn.runtime.distributed import ProcessGroup
from charrnn.runtime.machine import check_address_space
from charrnn.runtime.rendezvous import process_group
from charrnn.training.events import Note, RunEvent
from charrnn.training.inputs import RunInputs, read_inputs, resumed
from charrnn.training.request import TrainRequest

SAME = "Give every rank the same options and the same text."


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
    check_address_space()
    with ExitStack() as stack:
        device, backend = (asked.settings.get(name, "auto") for name in ("device", "backend"))
        group = stack.enter_context(process_group(device, backend))
        group.check_same({"`resume`": str(asked.resume)}, SAME)
        request = asked if asked.resume is None else resumed_by_all(asked, group)
        locks = group.is_main and not plan_only
        inputs = group.run_and_compare(
            lambda: read_inputs(request, group, stack, on_progress, locks=locks),
            RunInputs.fingerprint,
            SAME,
        )
        yield from (Note(note) for note in inputs.notes)
        from charrnn.training.setup import open_run  # imports torch, so only after cheap checks

        run = yield from open_run(request, inputs, group, plan_only=plan_only, started=started)
        if run is not None:
            yield from run.train(should_stop)


def resumed_by_all(asked: TrainRequest, group: ProcessGroup) -> TrainRequest:
    """Return the whole request of a run that is continued by its folder, which one process reads.

    Raises:
        CharRNNError: See `charrnn.training.inputs.resumed`; also if the options of ranks differ.
    """
    options = " ".join(f"`{name}` {value}" for name, value in sorted(asked.requested().items()))
    group.check_same({"The options": options or "none"}, SAME)
    return group.on_main(lambda: resumed(asked))
