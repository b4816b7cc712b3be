"""The command line: in this process, or in one of its own."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charrnn.__main__ import run

# As an installation gives it, whatever the tests were started from.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", ""),
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
}


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Terminal:
    """Runs `charrnn ...` in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: Any) -> Outcome:
        self.capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *self.capsys.readouterr())

    def ok(self, *arguments: Any) -> Outcome:
        outcome = self(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome


# A process that a shell started with & ignores Ctrl-C, and so do its children; this one listens.
CHARRNN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from charrnn.__main__ import main
main()
"""


def start(
    program: str, *arguments: Any, env: dict[str, str] | None = None, **settings: Any
) -> subprocess.Popen[str]:
    """Start a Python program in a group of processes of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=ENVIRONMENT | {"TMPDIR": tempfile.gettempdir()} | (env or {}),
        text=True,
        encoding="utf-8",
        start_new_session=True,
        **pipes,
    )


def process(program: str, *arguments: Any, **settings: Any) -> Outcome:
    """Run a Python program to its end."""
    with start(program, *arguments, **settings) as running:
        out, err = running.communicate(timeout=120)
        return Outcome(running.returncode, out or "", err or "")
