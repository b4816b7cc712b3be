"""The runs in a folder at a glance, from their logs and the headers of their files."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from charrnn.errors import CharRNNError, MachineError
from charrnn.model.shapes import describe_shape
from charrnn.storage.atomic import display_path, io_error
from charrnn.storage.container import read_metadata
from charrnn.storage.lock import holder_of
from charrnn.storage.run_folder import RunFolder

SORT_KEYS = ("name", "score", "steps", "seconds", "state")


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance; what is not known is None.

    Attributes:
        name: Name of its folder.
        state: "training" (a process is writing), "complete", "stopped", "model" (a model without a
            state to continue from) or "damaged".
        model: Cell, layers and width.
        text: Name of the text.
        bits_per_char: Best validation score in bits per character.
        valid: The same in nats per token.
        best_step: The step of the best score.
        step: Steps taken, as far as the log knows.
        steps: Steps of the whole run.
        seconds: Time spent on training.
    """

    name: str
    state: str
    model: str | None = None
    text: str | None = None
    bits_per_char: float | None = None
    valid: float | None = None
    best_step: int | None = None
    step: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        score = {"bits_per_char": self.bits_per_char, "nats_per_token": self.valid}
        return {
            "name": self.name,
            "state": self.state,
            "shape": self.model,
            "text": {"name": self.text},
            "valid": score,
            "best_step": self.best_step,
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
        }


def find_runs(folder: Path, sort: str = "name") -> list[RunSummary]:
    """Return the runs in the folders of `folder`, sorted by one of `SORT_KEYS`.

    The best score, the most steps and the longest time come first.

    Raises:
        MachineError: There is no such folder, or it cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError as error:
        hint = "Runs are in checkpoints/, unless they were trained with another `out`."
        raise MachineError(f"There is no folder {display_path(folder)}.", hint) from error
    except OSError as error:
        raise io_error("read", folder, error) from error
    found = [summarise(path) for path in paths if _is_run(path)]
    return sorted(found, key=lambda run: _sort_key(run, sort))


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return any(one.is_file() for one in (folder.model, folder.last, folder.metrics.path))


def _sort_key(run: RunSummary, sort: str) -> tuple[Any, ...]:
    numbers = {"score": run.bits_per_char, "steps": run.step, "seconds": run.seconds}
    if sort in numbers:
        number = numbers[sort]
        first = math.inf if number is None else number if sort == "score" else -number
        return (first, run.name)
    return (run.state if sort == "state" else "", run.name)


def summarise(path: Path) -> RunSummary:
    """Return what can be said about a run's folder; what is damaged is said, not raised."""
    folder = RunFolder(path)
    try:
        facts = read_metadata(folder.last) if folder.last.is_file() else {}
        model = read_metadata(folder.model) if folder.model.is_file() else {}
        lines = folder.metrics.read()
        return RunSummary(name=path.name, **_checked(_facts(folder, facts, model, lines)))
    except (CharRNNError, AttributeError, LookupError, TypeError, ValueError):
        return RunSummary(name=path.name, state="damaged")


def _facts(
    folder: RunFolder,
    state: Mapping[str, Any],
    model: Mapping[str, Any],
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    about = model.get("about", {})
    text, train = (state.get(name) or about.get(name) or {} for name in ("text", "train"))
    valid = about.get("valid") or {}
    return {
        "state": _state(folder, state),
        "model": describe_shape(state.get("model") or model["config"]),
        "text": text.get("name"),
        "bits_per_char": valid.get("bits_per_char"),
        "valid": valid.get("nats_per_token"),
        "best_step": about.get("step"),
        "step": max((line["step"] for line in lines), default=about.get("step")),
        "steps": train.get("steps"),
        "seconds": max((line.get("seconds", 0.0) for line in lines), default=None),
    }


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as they are; raise `TypeError` or `ValueError` at one that is no fact of a run.

    The headers that they come from are not covered by a checksum until all of a file is read.
    """
    for name, value in facts.items():
        kinds = (str,) if name in ("state", "model", "text") else (int, float)
        if value is not None and type(value) not in kinds:
            raise TypeError(name)
        if not isinstance(value, (str, NoneType)) and not 0 <= value < sys.float_info.max:
            raise ValueError(name)
    return facts


def _state(folder: RunFolder, state: Mapping[str, Any]) -> str:
    if holder_of(folder.path):
        return "training"
    if not state:
        return "model"
    return "complete" if state.get("finished") else "stopped"
