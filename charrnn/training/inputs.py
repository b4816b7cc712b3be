"""The inputs of a run: its text, its folder and the model to start from. No torch."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.config.pairs import source_config
from charrnn.data.formats import text_format
from charrnn.data.pairs import split_pairs
from charrnn.data.split import TextSplit, split_text
from charrnn.data.text import OnProgress, read_text
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.runtime.distributed import ProcessGroup
from charrnn.storage.atomic import display_path
from charrnn.storage.blend import Saved, SavedBlend, open_model
from charrnn.storage.blend_name import refuse_blend
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder
from charrnn.training.changes import LENGTHS, is_extended
from charrnn.training.request import TrainRequest
from charrnn.version import __version__

OWN_FIELDS = ("preset", "epochs", "seconds", "members")  # of a request, besides its settings


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run, as one process has read them.

    Attributes:
        folder: The run's folder, locked if this process writes to it.
        requested: The options that the run depends on; see `TrainRequest.requested`.
        start: The model to start from, if any.
        source_start: The model that what reads the sources starts from, if any.
        teacher: The model to learn from besides the text, if any.
        text: The text, split; the targets if it consists of pairs.
        notes: Messages for the user.
        sources: The sources of the text's records, if they have any.
    """

    folder: RunFolder
    requested: dict[str, Any]
    start: SavedModel | None
    text: TextSplit
    notes: tuple[str, ...]
    sources: TextSplit | None = None
    source_start: SavedModel | None = None
    teacher: Saved | None = None

    def fingerprint(self) -> Mapping[str, str]:
        """Return what has to be the same in all processes, by the name that an error uses."""
        options = [f"`{name}` {value}" for name, value in sorted(self.requested.items())]
        return {
            "The version of charrnn": __version__,
            "The options": " ".join(options) or "none",
            "The SHA-256 of the text": f"{self.text.sha256[:12]}...",
        }


def read_inputs(
    request: TrainRequest,
    group: ProcessGroup,
    stack: ExitStack,
    on_progress: OnProgress,
    *,
    locks: bool,
) -> RunInputs:
    """Read and check the inputs of a run.

    Args:
        request: What was requested.
        group: The processes that train together.
        stack: Keeps the folder's lock.
        on_progress: Called while the text is read.
        locks: Whether this process writes to the folder, and so has to lock it.

    Raises:
        CharRNNError: An input cannot be used.
    """
    if group.size > 1 and "-" in (*request.texts, *request.valid):
        raise UsageError("Several ranks cannot read one standard input.", "Give them a file.")
    if request.init_from:
        instead = f", or learn from all of them by `teacher` {request.init_from}"
        refuse_blend(request.init_from, "`init_from`", instead)
    if request.init_source_from:
        refuse_blend(request.init_source_from, "`init_source_from`")
    split, sources, notes = read_split(request, on_progress)
    folder = RunFolder(request.out or Path("checkpoints") / split.name)
    if locks:
        folder.prepare()
        stack.enter_context(folder.lock())
    start = load_model(request.init_from) if request.init_from else None
    other = load_model(request.init_source_from) if request.init_source_from else None
    teacher = open_model(request.teacher) if request.teacher else None
    notes += teacher.notes if isinstance(teacher, SavedBlend) else ()
    requested = request.requested(
        start.sha256 if start else None,
        other.sha256 if other else None,
        teacher.sha256 if teacher else None,
    )
    return RunInputs(folder, requested, start, split, notes, sources, other, teacher)


def resumed(request: TrainRequest) -> TrainRequest:
    """Return the whole request of a run that is continued by its folder alone.

    Raises:
        UsageError: The new options contradict each other.
        TextError: It is not known which text the run is of.
        ModelFileError: There is no run in the folder, or its saved states are damaged.
    """
    if request.resume is None:
        return request
    refuse_blend(request.resume, "`resume`")
    folder = RunFolder(request.resume)
    then, sources, finished = _known_of(folder)
    if not request.texts and not sources:
        name = display_path(request.resume)
        message = f"It is not recorded which text the run in {name} is of."
        raise TextError(message, f"Name it: charrnn train TEXT `resume` {request.resume}")
    own, settings = _completed(then, request.requested())
    needed = not finished or is_extended(then, request.requested())
    known = sources.get("teacher", "")
    gone = str(folder.members.absolute()) in known and not folder.members.exists()
    teacher = known if needed and not gone else None
    known_encoding = sources.get("encoding", "utf-8")
    encoding = known_encoding if request.encoding == "utf-8" else request.encoding
    return replace(
        request,
        texts=request.texts or tuple(sources["texts"]),
        valid=request.valid or tuple(sources.get("valid", ())),
        encoding=encoding,
        teacher=request.teacher or teacher or None,
        out=request.resume,
        resume=None,
        settings=settings,
        **own,
    )


def _known_of(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Return a run's request, where its text is, and whether it is complete.

    Before a run, its members may be trained, of which there is a record then.

    Raises:
        ModelFileError: There is no run in the folder, or its saved states are damaged.
    """
    saved, members = folder.load_state(), folder.members_record
    facts = saved.facts if saved is not None else members.read()
    if not facts:
        message = f"{display_path(folder.path)} holds no run that could be continued."
        raise ModelFileError(message, "Give the folder of a run: `resume` checkpoints/NAME")
    if not isinstance(then := facts.get("request"), dict):
        raise ModelFileError(f"The training state in {folder.path} has no list of options.")
    record = members if saved is None else folder.record
    return then, record.sources(), facts.get("finished") is True


def _completed(then: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields and the settings of a run's request, with new options in their places."""
    values = then | now
    if is_extended(then, now):  # one of the lengths replaces another
        values = {name: one for name, one in values.items() if name not in LENGTHS or name in now}
    own = {name: values.pop(name, None) for name in OWN_FIELDS}
    for name in ("init_from", "init_source_from", "teacher"):
        values.pop(name, None)
    return own, values


def read_split(
    request: TrainRequest, on_progress: OnProgress
) -> tuple[TextSplit, TextSplit | None, tuple[str, ...]]:
    """Return the text, read and split, the sources of its records, and messages about that."""
    encoding = request.encoding
    text = read_text(request.texts, encoding=encoding, on_progress=on_progress)
    valid = None
    if request.valid:
        valid = read_text(request.valid, encoding=encoding, on_progress=on_progress)
    fraction = request.settings.get("valid_fraction", 0.1)
    notes = (*text.notes, *(valid.notes if valid else ()))
    source = source_config(request.settings)
    if source is not None:
        pairs = split_pairs(text, source, fraction, valid)
        return pairs.targets, pairs.sources, notes
    split = split_text(text, text_format(request.settings.get("records")), fraction, valid)
    return split, None, (*notes, *split.notes)
