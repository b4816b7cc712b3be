"""The record of a run: what it was made from, and when, where and how long it was trained.

Unlike the other files of a run it depends on the time and the machine, and nothing that is computed
depends on it. It may be deleted; a run is then continued by naming its text again.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn.storage.atomic import write_atomic


class RunRecord:
    """A file of JSON values by name.

    Attributes:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Return the values; none if the file is missing or damaged."""
        with suppress(OSError, ValueError, RecursionError):
            values = json.loads(self.path.read_bytes())
            if isinstance(values, dict):
                return values
        return {}

    def update(self, values: Mapping[str, Any]) -> None:
        """Replace some values.

        Raises:
            MachineError: See `charrnn.storage.atomic.write_atomic`.
        """
        text = json.dumps(self.read() | dict(values), indent=2, ensure_ascii=False)
        write_atomic(self.path, (text + "\n").encode(errors="backslashreplace"))

    def seconds_at(self, step: int) -> float:
        """Return the seconds that the run had taken when it was saved at a step; 0 if unknown."""
        saved = self.read().get("saved")
        if not isinstance(saved, dict) or saved.get("step") != step:
            return 0.0
        seconds = saved.get("seconds")
        return seconds if isinstance(seconds, float) and 0 <= seconds < 1e12 else 0.0

    def sessions(self) -> list[dict[str, Any]]:
        """Return when and with what each process has trained the run, the first one first."""
        found = self.read().get("sessions")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def sources(self) -> dict[str, Any]:
        """Return the paths of the run's text: "texts", "valid" and "encoding"; empty if unknown.

        A run with a teacher also has that: "teacher", the paths of its models, joined by "+".
        """
        found = self.read().get("sources")
        if not isinstance(found, dict):
            return {}
        lists = [found.get("texts"), found.get("valid")]
        if not all(isinstance(one, list) and all(isinstance(p, str) for p in one) for one in lists):
            return {}
        others = [found.get("encoding"), found.get("teacher", "")]
        return found if all(isinstance(one, str) for one in others) else {}
