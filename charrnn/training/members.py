"""Members and a student: several models, one after the other, and then one that learns from them.

    checkpoints/NAME/
      members/run.json     how many there are, of which request
      members/1, 2, ...    their runs, which differ in their seeds
      model.safetensors    the student, once it is trained

Each is a run like any other, with a folder, a saved state and a share of the time; the student's
teacher is the blend of the members. An interrupted command goes on with the run that it was at. At
the end the members are removed, unless they are to be kept.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from charrnn.config.presets import STUDENT_SHARE
from charrnn.config.training import TrainConfig
from charrnn.data.text import text_name
from charrnn.errors import CharRNNError, InterruptedRun
from charrnn.storage.container import read_metadata
from charrnn.storage.run_folder import RunFolder
from charrnn.training.changes import LENGTH, check_same_options
from charrnn.training.events import Finished, Note, Part, Planned, RunEvent, Started, TextRead
from charrnn.training.request import TrainRequest
from charrnn.training.session import Session

SEEDS_APART = 1_000_000  # between the seed that was given and those of the members
REMOVED = "members.removed"  # in a run's folder
MOST = 64  # members
LEAST_SHARE = 0.01  # of the time, for a run that comes too late


@dataclass(frozen=True)
class Members:
    """The members of a run: models that are trained before it, from which it learns.

    Attributes:
        out: The folder of the run.
        request: The request for the run.
        count: The number of members; 0 if the run has none.
        kept: Whether they stay after the end.
    """

    out: Path
    request: TrainRequest
    count: int
    kept: bool = False

    @classmethod
    def found(cls, request: TrainRequest, *, restarted: bool = False) -> "Members":
        """Return the members that an earlier command began to train for the same run.

        Args:
            request: The whole request.
            restarted: Whether torchrun has restarted the processes, which then go on.

        Raises:
            UsageError: They were begun with other options.
        """
        out = request.out or Path("checkpoints") / text_name(request.texts)
        known = RunFolder(out).members_record.read()
        count, then = known.get("members"), known.get("request")
        if type(count) is not int or not 1 < count <= MOST or not isinstance(then, dict):
            return cls(out, request, 0, request.keep_members)
        if request.fresh and not restarted:  # they are moved aside with the run
            return cls(out, request, 0, request.keep_members)
        check_same_options(out, then, request.requested())
        return cls(out, request, count, request.keep_members or known.get("kept") is True)

    def begin(self) -> None:
        """Record that there are members, before the first of them is trained."""
        RunFolder(RunFolder(self.out).members).prepare()
        facts = {"members": self.count, "kept": self.kept, "request": self.request.requested()}
        RunFolder(self.out).members_record.update(facts | {"sources": self.request.sources()})

    def folder(self, number: int) -> RunFolder:
        """Return the folder of a member, counted from 1."""
        return RunFolder(RunFolder(self.out).members / str(number))

    @property
    def folders(self) -> list[RunFolder]:
        """The folders of all members."""
        return [self.folder(number + 1) for number in range(self.count)]

    def is_complete(self, number: int) -> bool:
        """Return whether a member was trained to its end; one that is damaged was not."""
        with suppress(CharRNNError):
            return read_metadata(self.folder(number).last).get("finished") is True
        return False

    def member(self, number: int, started: float) -> TrainRequest:
        """Return the request for a member, counted from 1.

        A member that is complete stays as it is, even if the run is now to be longer.

        Args:
            number: The number.
            started: `time.monotonic()` when the command started.
        """
        settings, out = self._settings(number), self.folder(number).path
        asked = replace(self.request, out=out, teacher=None, members=1, fresh=False)
        own, waiting = replace(asked, settings=settings), self.count - number + 1
        if self.is_complete(number):
            settings = {name: one for name, one in settings.items() if name not in LENGTH}
            return replace(own, preset=None, seconds=None, epochs=None, settings=settings)
        each = (1 - STUDENT_SHARE) / self.count
        return replace(own, share=self._left(started) * each / (waiting * each + STUDENT_SHARE))

    def _settings(self, number: int) -> dict[str, Any]:
        """Return the settings of a member: those that were given, with another seed."""
        given = {name: one for name, one in self.request.settings.items() if name != "page"}
        return given | {"seed": given.get("seed", TrainConfig().seed) + number * SEEDS_APART}

    def student(self, started: float) -> TrainRequest:
        """Return the request for the student; `started` is as for `member`."""
        teacher = "+".join(str(one.path) for one in self.folders)
        return replace(self.request, teacher=teacher, fresh=False, share=self._left(started))

    def _left(self, started: float) -> float:
        """Return the fraction of the time budget that is left, which an earlier command used too.

        It is never 0, so that something is always trained.
        """
        budget = self.request.budget
        trained = sum(one.metrics.seconds() for one in self.folders)
        return max(LEAST_SHARE, 1 - max(trained, time.monotonic() - started) / budget)

    def remove(self) -> None:
        """Remove the members, as a whole even if this process is killed while it does so."""
        with suppress(OSError):
            RunFolder(self.out).members.rename(self.out / REMOVED)
        self.finish_removal()

    def finish_removal(self) -> None:
        """Remove what is left of members that another process was removing."""
        shutil.rmtree(self.out / REMOVED, ignore_errors=True)


def train(request: TrainRequest, session: Session, started: float) -> Iterator[RunEvent]:
    """Train a model, after its members if there are any, and yield events.

    Args:
        request: The whole request.
        session: What the runs have in common.
        started: `time.monotonic()` when the command started, from which a time budget counts.
    """
    group = session.group
    restarted = bool(group.restarts)
    members = group.on_main(lambda: Members.found(request, restarted=restarted))
    group.on_main(members.finish_removal)
    shown = set[RunEvent]()
    if not members.count or session.plan_only:
        count = 0
        for event in session.run(request, started):
            count = event.members if isinstance(event, Planned) else count
            shown |= {event} if isinstance(event, (Note, TextRead)) else set()
            yield event
        if not count or session.plan_only:
            return
        members = replace(members, count=count)
        group.on_main(members.begin)
    yield from _all_runs(members, session, started, shown)


def _all_runs(
    members: Members, session: Session, started: float, shown: set[RunEvent]
) -> Iterator[RunEvent]:
    """Train the members and the student.

    Args:
        members: The members.
        session: What the runs have in common.
        started: `time.monotonic()` when the command started.
        shown: Notes, and what was said about the text, which are not repeated.
    """
    group, began = session.group, False
    for number in range(1, members.count + 1):
        name = f"member {number} of {members.count}"
        complete = group.on_main(partial(members.is_complete, number))
        own = group.on_main(partial(members.member, number, started))
        for event in _one_run(own, session, name, shown):
            began = began or isinstance(event, Started)
            if isinstance(event, Finished):
                yield Note(f"{name.capitalize()}: {_score_in_words(event.summary)}")
            elif isinstance(event, Started):
                yield replace(event, folder=str(members.out))
            elif not complete:
                yield event
        if began:  # before that, a signal ends the command at once
            _stop_if_asked(session, name)
    student = group.on_main(partial(members.student, started))
    for event in _one_run(student, session, "student", shown):
        if isinstance(event, Finished) and group.is_main and not members.kept:
            members.remove()
        yield event


def _one_run(
    request: TrainRequest, session: Session, name: str, shown: set[RunEvent]
) -> Iterator[RunEvent]:
    """Train one of several models, and yield events that were not shown before."""
    yield Part(name)
    for event in session.run(request, time.monotonic()):
        if not _is_repeated(event, shown):
            yield event


def _stop_if_asked(session: Session, name: str) -> None:
    """Raise `InterruptedRun` if a signal came between two runs."""
    (stop,) = session.group.max(session.should_stop() or 0)
    if stop:
        raise InterruptedRun(f"Stopped after {name}.", signal_number=int(stop))


def _is_repeated(event: RunEvent, shown: set[RunEvent]) -> bool:
    """Return whether an event is a note, or about the text, and was shown; remember it."""
    if not isinstance(event, (Note, TextRead)):
        return False
    repeated = event in shown
    shown.add(event)
    return repeated


def _score_in_words(summary: Mapping[str, Any]) -> str:
    nats, bits = summary["valid_nats_per_token"], summary["valid_bits_per_char"]
    return f"validation {nats:.4f} nats per token, {bits:.3f} bits per character"
