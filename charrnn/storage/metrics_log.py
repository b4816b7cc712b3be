"""The metrics log of a run: JSON lines, one for each log entry and each evaluation."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.storage.atomic import check_regular, io_error, write_all, write_atomic


class MetricsLog:
    """A log that grows by whole lines, and is cut back to the step from which a run continues.

    Attributes:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line, completely or not at all.

        Args:
            line: JSON values, with a "step", by which `cut` finds its place.

        Raises:
            MachineError: The line could not be written; training can continue.
        """
        text = (json.dumps(dict(line), allow_nan=False) + "\n").encode()
        try:
            check_regular(self.path)
            with self.path.open("ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    write_all(file.fileno(), text)
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise io_error("write to", self.path, error, len(text)) from error

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, except those that are damaged or incomplete.

        Raises:
            MachineError: The log exists but cannot be read.
        """
        return [values for _, values in self._lines()]

    def cut(self, step: int, evaluated: int | None = None) -> None:
        """Drop the lines after `step`, and those that are damaged or have no step.

        Args:
            step: The last step to keep.
            evaluated: The last step whose evaluation to keep, if the evaluation at `step` will be
                repeated; lines of evaluations have a "valid" entry.

        Raises:
            MachineError: The log cannot be read or written.
        """
        last, last_evaluation = step, step if evaluated is None else evaluated
        kept = list[bytes]()
        for raw, values in self._lines():
            end = last_evaluation if "valid" in values else last
            if isinstance(values.get("step"), int) and values["step"] <= end:
                kept.append(raw)
        if os.path.lexists(self.path):
            write_atomic(self.path, b"".join(kept))

    def sync(self) -> None:
        """Flush the log to the disk, if the system allows it, before a state is saved."""
        with suppress(OSError), self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def _lines(self) -> list[tuple[bytes, dict[str, Any]]]:
        lines = []
        try:
            check_regular(self.path)
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise io_error("read", self.path, error) from error
        for raw in text.splitlines(keepends=True):
            with suppress(ValueError, RecursionError):
                values = json.loads(raw)
                if raw.endswith(b"\n") and isinstance(values, dict):
                    lines.append((raw, values))
        return lines
