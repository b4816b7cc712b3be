"""What may change when a run is continued, and what is refused. No torch.

Options that change no step of the training may always change. Those that say how long to train
extend the run. All others make it another run.
"""

import shlex
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from charrnn.data.encoding import EncodedSplit
from charrnn.data.split import TextSplit
from charrnn.errors import ModelFileError, TextError, UsageError

Request = Mapping[str, Any]

REPORTING = frozenset(
    {"log_every", "save_every", "eval_every", "sample_every", "page", "threads", "backend"}
)
LENGTHS = ("steps", "epochs", "seconds", "preset")  # of which one counts, the first that is given
LENGTH = frozenset({*LENGTHS, "patience"})
# What stays as it was if it is not given again.
KEPT = REPORTING | LENGTH | {"init_from", "init_source_from"}


def is_extended(then: Request, now: Request) -> bool:
    """Return whether a request asks for another length of training than the run's request."""
    return any(then.get(name) != now[name] for name in LENGTH & now.keys())


def merged(then: Request, now: Request) -> dict[str, Any]:
    """Return the request of a run that is continued.

    Options about length and reports that are not given again stay as they were.

    Args:
        then: The options that the run was started with; see `TrainRequest.requested`.
        now: Those that it is continued with.
    """
    kept = {name: value for name, value in then.items() if name in KEPT}
    if any(then.get(name) != now[name] for name in {*LENGTHS} & now.keys()):
        kept = {name: value for name, value in kept.items() if name not in LENGTHS}
    return kept | dict(now)


def check_same_run(
    folder: Path, now: Request, text: TextSplit | EncodedSplit, facts: Mapping[str, Any]
) -> None:
    """Check that a run is continued with the same text, and with options that suit it.

    Args:
        folder: The run's folder, for the messages.
        now: The options.
        text: The text.
        facts: Those of the run's saved state.

    Raises:
        UsageError: The options differ; the message names every difference.
        TextError: The text differs.
        ModelFileError: The teacher's models differ.
    """
    finished = facts.get("finished") is True
    check_same_options(folder, facts["request"], now, finished=finished)
    was = facts["text"]["sha256"]
    if was != text.sha256:
        raise TextError(
            f"{text.name} has changed since the run in {folder} began "
            f"(SHA-256 {was[:12]}... then, {text.sha256[:12]}... now).",
            f"Go on from its model with the new text: `init_from` {shlex.quote(str(folder))} "
            f"`out` {shlex.quote(str(next_folder(folder)))} - or add `fresh` to start again with "
            "it; the old run is moved aside, not deleted.",
        )


def check_same_options(
    folder: Path, then: Request, now: Request, *, finished: bool = False
) -> None:
    """Check that options suit a run that was started with others.

    Args:
        folder: The run's folder, for the messages.
        then: The options that it was started with.
        now: Those that it is continued with.
        finished: Whether it is complete, so that it needs no teacher unless it is extended.

    Raises:
        UsageError: They differ; the message names every difference.
        ModelFileError: The teacher's models differ.
    """
    free = REPORTING | LENGTH | (KEPT - now.keys())
    free |= {"lr"} if is_extended(then, now) and "lr" in now else set()
    if had := then.get("teacher"):
        if "teacher" in now or not finished or is_extended(then, now):
            _check_same_teacher(folder, had, now.get("teacher"))
        free |= {"teacher"}
    names = sorted((then.keys() | now.keys()) - free)
    if names := [name for name in names if then.get(name) != now.get(name)]:
        changes = [
            f"`{name}` was {_printable(then, name)} and is now {_printable(now, name)}"
            for name in names
        ]
        raise UsageError(
            f"The run in {folder} was started with other options: {', '.join(changes)}.",
            f"Continue it as it was with `resume` {shlex.quote(str(folder))}, or add `fresh` to "
            "start again; the old run is moved aside, not deleted.",
        )


def _check_same_teacher(folder: Path, then: str, now: str | None) -> None:
    """Raise an error if a run has no teacher or another one than it had.

    Raises:
        UsageError: It has none.
        ModelFileError: It has another one.
    """
    if now is None:
        raise UsageError(
            f"The run in {folder} learns from a `teacher`, and none is given.",
            "Name it, or go on from the run's model with `init_from`. (Members are removed at the "
            "end of a run, unless it has `keep_members`.)",
        )
    if then != now:
        raise ModelFileError(
            f"The `teacher` of the run in {folder} has changed since it began (SHA-256 "
            f"{then[:12]}... then, {now[:12]}... now).",
            "Put its files back, or add `fresh` to start again with this one; the old run is moved "
            "aside, not deleted.",
        )


def next_folder(folder: Path) -> Path:
    """Return the first of NAME-2, NAME-3 and so on, beside a folder, that does not exist."""
    name, _, number = folder.name.rpartition("-")
    name, first = (name, int(number) + 1) if name and number.isdecimal() else (folder.name, 2)
    names = (folder.with_name(f"{name}-{index}") for index in count(first))
    return next(path for path in names if not path.exists())


def _printable(values: Request, name: str) -> str:
    value = values.get(name, "not given")
    return str(value) if str(value).isprintable() else repr(value)
