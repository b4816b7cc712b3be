"""Logs of JSON lines, each about a step of a run: its metrics, its samples."""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.storage.atomic import check_regular, io_error, write_all, write_atomic

NUMBERS = ("loss", "lr", "grad_norm", "tokens", "valid", "bits_per_char", "seconds")
MAX_SECONDS = 1e10  # 300 years, more than a run can have taken


class MetricsLog:
    """A log that grows by whole lines, and is cut back to the step from which a run continues.

    Attributes:
        path: The file; it need not exist.
        damaged: Whole lines that the last `cut` dropped because they are not what `append` writes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged = path, 0

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
        """Return the lines, except those that are damaged or incomplete; see `is_sound`.

        Raises:
            MachineError: The log exists but cannot be read.
        """
        return [values for _, values in self._lines() if values is not None]

    def seconds(self) -> float:
        """Return how long the run had taken at its last line, in seconds; 0 if there is none.

        Raises:
            MachineError: The log exists but cannot be read.
        """
        return max((float(line.get("seconds", 0)) for line in self.read()), default=0.0)

    def read_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return the lines from a byte offset on, and the offset after the last whole line.

        Raises:
            MachineError: The log exists but cannot be read.
        """
        text = self._bytes(offset)
        whole = text[: text.rfind(b"\n") + 1]
        lines = map(_values, whole.splitlines(keepends=True))
        return [values for values in lines if values is not None], offset + len(whole)

    def cut(self, step: int, evaluated: int | None = None) -> None:
        """Drop the lines after `step`, and those that are damaged, which `damaged` counts.

        Args:
            step: The last step to keep.
            evaluated: The last step whose evaluation to keep, if the evaluation at `step` will be
                repeated; lines of evaluations have a "valid" entry.

        Raises:
            MachineError: The log cannot be read or written.
        """
        last, last_evaluation = step, step if evaluated is None else evaluated
        kept, lines = list[bytes](), self._lines()
        self.damaged = sum(values is None and raw.endswith(b"\n") for raw, values in lines)
        for raw, values in lines:
            if values is None:
                continue
            end = last_evaluation if "valid" in values else last
            if values["step"] <= end:
                kept.append(raw)
        if os.path.lexists(self.path):
            write_atomic(self.path, b"".join(kept))

    def sync(self) -> None:
        """Flush the log to the disk, if the system allows it, before a state is saved."""
        with suppress(OSError), self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def _lines(self) -> list[tuple[bytes, dict[str, Any] | None]]:
        """Return each line as it is and its values, or None if it is damaged or incomplete."""
        return [(raw, _values(raw)) for raw in self._bytes().splitlines(keepends=True)]

    def _bytes(self, offset: int = 0) -> bytes:
        try:
            check_regular(self.path)
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise io_error("read", self.path, error) from error


def _values(raw: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        values = json.loads(raw, parse_constant=_refuse)
        if raw.endswith(b"\n") and is_sound(values):
            return values  # type: ignore[no-any-return]
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON.")


def is_sound(values: Any) -> bool:
    """Return whether a line has a step, and its numbers are finite and of the right type."""
    if not isinstance(values, dict) or not _is_number(values.get("step"), int):
        return False
    numbers = [values[name] for name in NUMBERS if name in values]
    in_range = values["step"] >= 0 and all(_is_number(one, int, float) for one in numbers)
    return in_range and 0 <= values.get("seconds", 0) < MAX_SECONDS


def _is_number(value: Any, *kinds: type) -> bool:
    with suppress(OverflowError):  # a whole number that is too large for a float
        return type(value) in kinds and math.isfinite(value)
    return False
