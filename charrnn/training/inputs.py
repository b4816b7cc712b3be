"""What a run begins with: the text, its folder, the model to start from. No torch."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.data.formats import text_format
from charrnn.data.split import TextSplit, split_text
from charrnn.data.text import OnProgress, read_text
from charrnn.errors import UsageError
from charrnn.runtime.distributed import ProcessGroup
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder
from charrnn.training.request import TrainRequest
from charrnn.version import __version__


@dataclass(frozen=True)
class RunInputs:
    """What a process has found.

    Attributes:
        folder: The run's; locked, if this process writes in it.
        asked: What the run is only continued with; see `TrainRequest.asked`.
        start: The model to start from.
        text: The text, split.
        notes: What a person should be told.
    """

    folder: RunFolder
    asked: dict[str, Any]
    start: SavedModel | None
    text: TextSplit
    notes: tuple[str, ...]

    def fingerprint(self) -> Mapping[str, str]:
        """Return what has to be the same in all processes, by the name that an error uses."""
        asked = [f"`{name}` {value}" for name, value in sorted(self.asked.items())]
        return {
            "The version of charrnn": __version__,
            "What was asked for": " ".join(asked) or "nothing",
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
    """Read and check what was given.

    Args:
        request: What is asked for.
        group: The processes that train together.
        stack: Holds the folder's lock.
        on_progress: Is told how far the text is read.
        locks: This process is to write in the folder.

    Raises:
        CharRNNError: Something cannot be used.
    """
    if group.size > 1 and "-" in (*request.texts, *request.valid):
        raise UsageError("Several ranks cannot read one standard input.", "Give them a file.")
    split, notes = read_split(request, on_progress)
    folder = RunFolder(request.out or Path("checkpoints") / split.name)
    if locks:
        folder.prepare()
        stack.enter_context(folder.lock())
    start = load_model(request.init_from) if request.init_from else None
    asked = request.asked(start.sha256 if start else None)
    return RunInputs(folder, asked, start, split, notes)


def read_split(request: TrainRequest, on_progress: OnProgress) -> tuple[TextSplit, tuple[str, ...]]:
    """Read the text and split it, and return what a person should be told about that."""
    encoding = request.encoding
    text = read_text(request.texts, encoding=encoding, on_progress=on_progress)
    valid = None
    if request.valid:
        valid = read_text(request.valid, encoding=encoding, on_progress=on_progress)
    fraction = request.settings.get("valid_fraction", 0.1)
    split = split_text(text, text_format(request.settings.get("records")), fraction, valid)
    return split, (*text.notes, *(valid.notes if valid else ()), *split.notes)
