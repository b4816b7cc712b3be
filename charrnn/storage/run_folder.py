"""The run folder.

All that a run leaves behind, its lock, and which of its saved states to go on from.

    checkpoints/NAME/
      model.safetensors      the best model so far
      last.safetensors       the newest training state
      previous.safetensors   the one before it, should the newest be damaged
      metrics.jsonl          one line for each log and each evaluation
      config.json            the settings, for people and for --config
      text.ids               the text as ids, so that a run that is continued need not encode it
      again .lock                  who is writing here

One process writes at a time; any number may read at any time, because files are only ever replaced
whole.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charrnn.errors import CharRNNError, MachineError, ModelFileError
from charrnn.storage.atomic import (
    cannot,
    only_regular,
    shown,
    sweep,
    sync_folder,
    write_all,
    write_whole,
)
from charrnn.storage.container import Arrays, load, to_bytes
from charrnn.storage.lock import take_lock


class RunFolder:
    """One run's folder. Whatever changes it, but `prepare`, is to be called while `lock` is held.

    Attributes:
        path: The folder; it need not exist before `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None  # descriptor of the lock file, while it is held

    @property
    def model(self) -> Path:
        """The best model so far."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The newest training state."""
        return self.path / "last.safetensors"

    @property
    def previous(self) -> Path:
        """The training state before the newest."""
        return self.path / "previous.safetensors"

    @property
    def metrics(self) -> Path:
        """The log, one JSON object on each line."""
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> Path:
        """The settings, as JSON."""
        return self.path / "config.json"

    @property
    def ids(self) -> Path:
        """The text as ids; see `charrnn.data.id_cache`. It can be made again at any time."""
        return self.path / "text.ids"

    def prepare(self) -> None:
        """Create the folder if it is not there, and make sure that files can be written in it.

        Raises:
            MachineError: It cannot be created or written to, or is no folder.
        """
        if os.path.lexists(self.path) and not os.path.isdir(self.path):  # noqa: PTH112 (this one never raises)
            raise MachineError(
                f"{shown(self.path)} is not a folder, and a run needs one.", "Choose another name."
            )
        try:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                sync_folder(folder.parent)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise cannot("write to", self.path, error) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer, and remove what a killed one left half written.

        The system ends the lock of the dead.

        Raises:
            MachineError: Another process holds the lock; or it cannot be taken.
        """
        self._lock = take_lock(self.path)
        try:
            with suppress(OSError):
                sweep(self.path)
            yield
        finally:
            os.close(self._lock)
            self._lock = None

    def set_aside(self) -> Path | None:
        """Move what is in the folder to a neighbour NAME.old-1, -2, .

        And go on in an empty folder, locked as before.

        Returns:
            Where the old run is now, or None if there was none.

        Raises:
            MachineError: It cannot be moved, or another process took the new folder at that moment.
        """
        if self._lock is None:
            raise RuntimeError("Moving a run aside needs its lock.")
        here = self.path.resolve()  # a run behind a symbolic link stays on its disk
        try:
            if all(entry.name in (".lock", "text.ids") for entry in here.iterdir()):
                return None
            places = (here.with_name(f"{here.name}.old-{number}") for number in count(1))
            old = next(place for place in places if not os.path.lexists(place))
            here.rename(old)
            here.mkdir()
            sync_folder(here.parent)
        except OSError as error:
            raise cannot("set aside", self.path, error) from error
        held, self._lock = (
            self._lock,
            take_lock(self.path),
        )  # the lock that we held went with the old folder
        os.close(held)
        return old

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the settings.

        Raises:
            MachineError: See `charrnn.storage.atomic.write_whole`.
        """
        write_whole(
            self.config, (json.dumps(dict(values), indent=2, allow_nan=False) + "\n").encode()
        )

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to the log: as a whole, or not at all.

        Args:
            line: JSON values; with "step", so that `cut_metrics` can tell its place.

        Raises:
            MachineError: It could not be written. Training need not end for that.
        """
        text = (json.dumps(dict(line), allow_nan=False) + "\n").encode()
        try:
            only_regular(self.metrics)
            with self.metrics.open("ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    write_all(file.fileno(), text)
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise cannot("write to", self.metrics, error, len(text)) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the log's whole lines; a line that a crash cut short is left out.

        Raises:
            MachineError: The log is there and cannot be read.
        """
        return [values for _, values in self._metrics_lines()]

    def cut_metrics(self, step: int, evaluated: int | None = None) -> None:
        """Drop the log's lines after `step`, and those that are damaged or say no step.

        Args:
            step: The last one to keep.
            evaluated: The last evaluation to keep, if the one of `step` is still to come;
                evaluations say "valid".

        Raises:
            MachineError: The log cannot be read or written.
        """
        lines = self._metrics_lines()
        ends = (step, step if evaluated is None else evaluated)
        kept = [
            raw
            for raw, values in lines
            if isinstance(values.get("step"), int) and values["step"] <= ends["valid" in values]
        ]
        if os.path.lexists(self.metrics):
            write_whole(self.metrics, b"".join(kept))

    def _metrics_lines(self) -> list[tuple[bytes, dict[str, Any]]]:
        lines = []
        try:
            only_regular(self.metrics)
            text = self.metrics.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise cannot("read", self.metrics, error) from error
        for raw in text.splitlines(keepends=True):
            with suppress(ValueError, RecursionError):
                values = json.loads(raw)
                if raw.endswith(b"\n") and isinstance(values, dict):
                    lines.append((raw, values))
        return lines

    def save_state(self, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
        """Save the newest training state and keep the one before it.

        At every moment a verified one is there.

        Args:
            arrays: See `charrnn.storage.container.to_bytes`.
            metadata: JSON values.

        Raises:
            MachineError: See `charrnn.storage.atomic.write_whole`; the states saved before are
                still there.
        """
        newest_is_good = _is_good(
            self.last
        )  # if it is not, it must not push out the good one before it
        self._sync_metrics()
        write_whole(
            self.last, to_bytes(arrays, metadata), keep=self.previous if newest_is_good else None
        )

    def _sync_metrics(self) -> None:
        """Make the log as lasting as the state that is about to be saved."""
        with (
            suppress(OSError),
            self.metrics.open("r+b") as file,
        ):  # should it fail: the state matters more
            os.fsync(file.fileno())

    def load_state(self) -> tuple[Arrays, dict[str, Any], list[str]] | None:
        """Return the newest training state that passes every check, or None if none was ever saved.

        Returns:
            Its arrays, its metadata, and a sentence about each newer state that is damaged.

        Raises:
            ModelFileError: States were saved, and none is good. A run never starts over by itself.
            MachineError: A state cannot be read.
        """
        damage: list[str] = []
        for path in (self.last, self.previous):
            if not os.path.lexists(path):
                continue
            try:
                return *load(path), damage
            except ModelFileError as error:
                damage.append(error.message)
        if damage:
            raise ModelFileError(
                " ".join(damage),
                "Restore one from a copy, or start over with --fresh, which moves them aside.",
            )
        return None


def _is_good(path: Path) -> bool:
    try:
        load(path)
    except CharRNNError:
        return False
    return True
