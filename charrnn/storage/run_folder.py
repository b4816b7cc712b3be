"""The run folder: the files of a run, their lock, and the saved state to continue from.

    checkpoints/NAME/
      model.safetensors      the best model so far
      last.safetensors       the newest training state
      previous.safetensors   the one before it, in case the newest is damaged
      metrics.jsonl          one line for each log entry and each evaluation
      samples.jsonl          what the model wrote at some points of the training, for its page
      config.json            the settings, for users and for --config
      run.json               when, where and from which text it was trained
      text.ids               the text as ids, so that a continued run need not encode it again
      source.ids             the sources of its records, if they have any
      members/               the runs of models from which it learns, if there are any, and run.json
      .lock                  the process that is writing here

One process writes at a time; any number may read at any time, as files are replaced atomically.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charrnn.errors import CharRNNError, MachineError, ModelFileError
from charrnn.storage.atomic import (
    display_path,
    io_error,
    remove_temporaries,
    sync_folder,
    write_atomic,
)
from charrnn.storage.container import Arrays, load, to_bytes
from charrnn.storage.lock import take_lock
from charrnn.storage.metrics_log import MetricsLog
from charrnn.storage.run_record import RunRecord
from charrnn.storage.sparse_rows import pack_rows, unpack_rows


@dataclass(frozen=True)
class SavedState:
    """A training state that passed every check.

    Attributes:
        arrays: Weights, optimizer state, random generators, carried state.
        facts: Everything else, as JSON values.
        damage: An error message for each newer state that is damaged.
    """

    arrays: Arrays
    facts: dict[str, Any]
    damage: tuple[str, ...] = ()


class RunFolder:
    """One run's folder. All methods that change it, except `prepare`, need the lock.

    Attributes:
        path: The folder; it need not exist before `prepare`.
        model: The best model so far.
        last: The newest training state.
        previous: The training state before the newest.
        config: The settings, as JSON.
        ids: The text as ids, a cache; see `charrnn.data.id_cache`.
        source_ids: The sources of its records, likewise.
        metrics: The metrics log.
        record: When, where and from what it was trained.
        samples: What the model wrote during training, a line each.
        members: The folders of the models from which the run learns, while they are needed.
        members_record: How many they are, and of which request.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"
        self.last = path / "last.safetensors"
        self.previous = path / "previous.safetensors"
        self.config = path / "config.json"
        self.ids = path / "text.ids"
        self.source_ids = path / "source.ids"
        self.metrics = MetricsLog(path / "metrics.jsonl")
        self.record = RunRecord(path / "run.json")
        self.samples = MetricsLog(path / "samples.jsonl")
        self.members = path / "members"
        self.members_record = RunRecord(self.members / "run.json")
        self._lock: int | None = None  # descriptor of the lock file, while the lock is held

    @classmethod
    def of_model(cls, path: Path) -> "RunFolder":
        """Return the folder of a model that is named by its file, or by its run's folder."""
        return cls(path if path.is_dir() else path.parent)

    def prepare(self) -> None:
        """Create the folder if needed, and make sure that files can be written in it.

        Raises:
            MachineError: It cannot be created or written to, or is not a folder.
        """
        is_folder = os.path.isdir(self.path)  # noqa: PTH112 (this one never raises)
        if os.path.lexists(self.path) and not is_folder:
            name = display_path(self.path)
            message = f"{name} is not a folder, and a run needs one."
            raise MachineError(message, "Choose another name.")
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                sync_folder(folder.parent)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise io_error("write to", self.path, error) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock, and remove the temporary files of killed processes.

        The system releases the lock of a process that ends.

        Raises:
            MachineError: Another process holds the lock, or it cannot be taken.
        """
        self._lock = take_lock(self.path)
        try:
            with suppress(OSError):
                remove_temporaries(self.path)
            yield
        finally:
            os.close(self._lock)
            self._lock = None

    def archive(self) -> Path | None:
        """Move the folder's contents to NAME.old-1, NAME.old-2 and so on, beside the folder.

        The folder is then empty, and still locked.

        Returns:
            The new path of the old run, or None if there was none.

        Raises:
            MachineError: It cannot be moved, or another process took the new folder's lock first.
        """
        if self._lock is None:
            raise RuntimeError("Archiving a run needs its lock.")
        here = self.path.resolve()  # a run behind a symbolic link stays on its disk
        try:
            if all(entry.name in (".lock", "text.ids", "source.ids") for entry in here.iterdir()):
                return None
            places = (here.with_name(f"{here.name}.old-{number}") for number in count(1))
            old = next(place for place in places if not os.path.lexists(place))
            here.rename(old)
            here.mkdir()
            sync_folder(here.parent)
        except OSError as error:
            raise io_error("archive", self.path, error) from error
        held = self._lock  # of the file that moved with the old folder
        self._lock = take_lock(self.path)
        os.close(held)
        return old

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the settings to config.json.

        Raises:
            MachineError: See `charrnn.storage.atomic.write_atomic`.
        """
        text = json.dumps(dict(values), indent=2, allow_nan=False) + "\n"
        write_atomic(self.config, text.encode())

    def save_state(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Save the newest training state and keep the one before it.

        At any moment, at least one undamaged state exists.

        Args:
            arrays: See `charrnn.storage.container.to_bytes`.
            facts: JSON values.

        Raises:
            MachineError: See `charrnn.storage.atomic.write_atomic`; the earlier states are kept.
        """
        # A damaged newest state must not replace the good one before it.
        keep = self.previous if _is_good(self.last) else None
        self.metrics.sync()
        self.samples.sync()
        write_atomic(self.last, to_bytes(pack_rows(arrays), facts), keep=keep)

    def load_state(self) -> SavedState | None:
        """Return the newest training state that passes every check, or None if none was saved.

        Raises:
            ModelFileError: All saved states are damaged; a run never starts again by itself.
            MachineError: A state cannot be read.
        """
        damage: list[str] = []
        for path in (self.last, self.previous):
            if not os.path.lexists(path):
                continue
            try:
                arrays, facts = load(path)
                arrays = unpack_rows(arrays, display_path(path))
                return SavedState(arrays, facts, tuple(damage))
            except ModelFileError as error:
                damage.append(error.message)
        if damage:
            hint = "Restore one from a copy, or start again with `fresh`, which moves them aside."
            raise ModelFileError(" ".join(damage), hint)
        return None


def _is_good(path: Path) -> bool:
    try:
        load(path)
    except CharRNNError:
        return False
    return True
