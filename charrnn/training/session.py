"""What the runs of one command have in common, and one of them from its request to its end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from charrnn.data.text import OnProgress
from charrnn.runtime.distributed import ProcessGroup
from charrnn.training.events import Note, RunEvent
from charrnn.training.inputs import RunInputs, read_inputs
from charrnn.training.request import TrainRequest

SAME = "Give every rank the same options and the same text."


@dataclass(frozen=True)
class Session:
    """What the runs of one command have in common.

    Attributes:
        group: The processes that train together.
        should_stop: Called after every step and during evaluations; returning a signal's number
            saves and ends a run.
        on_progress: Called while a text is read.
        plan_only: Plan a new run and estimate its time, but do not train or write anything.
    """

    group: ProcessGroup
    should_stop: Callable[[], int | None]
    on_progress: OnProgress
    plan_only: bool

    def run(self, request: TrainRequest, started: float) -> Iterator[RunEvent]:
        """Train one model or continue its run, and yield events.

        Where members come first, the last event is `Planned`, which says so.

        Args:
            request: The whole request.
            started: `time.monotonic()` from which a time budget counts.
        """
        group = self.group
        with ExitStack() as stack:
            locks = group.is_main and not self.plan_only
            inputs = group.run_and_compare(
                lambda: read_inputs(request, group, stack, self.on_progress, locks=locks),
                RunInputs.fingerprint,
                SAME,
            )
            yield from (Note(note) for note in inputs.notes)
            from charrnn.training.setup import open_run  # imports torch, so after cheap checks

            run = yield from open_run(
                request, inputs, group, plan_only=self.plan_only, started=started
            )
            if run is not None:
                yield from run.train(self.should_stop)
