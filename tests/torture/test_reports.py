"""Promise 4.

What is shown, logged, sampled, evaluated or saved, and how often, does not change the weights.
"""

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import Command, run
from small_runs import arguments, weights

WAYS = {
    "evaluating at each step": arguments(eval_every=1),
    "evaluating once": arguments(eval_every=1000),
    "logging at each step": arguments(log_every=1),
    "logging never": arguments(log_every=1000),
    "sampling at each step": arguments(sample_every=1),
    "sampling now and then": arguments(sample_every=3),
    "saving at each step": arguments(save_every=1),
    "saving at the end": arguments(save_every=1000),
    "quiet": ["--quiet"],
    "json": ["--json"],
    "all at each step": arguments(eval_every=1, log_every=1, sample_every=1, save_every=1),
}


@contextmanager
def on_a_terminal() -> Iterator[None]:
    """Show the progress bar.

    Be a process whose standard error is a terminal, which another process reads.
    """
    pid, terminal = pty.fork()
    if pid:
        while data_of(terminal):
            pass
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.environ["TERM"] = "xterm"
    assert sys.stderr.isatty()
    yield


def data_of(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says when nobody writes to it any more
        return b""


@pytest.mark.parametrize(
    "cell", ["lstm", *(pytest.param(cell, marks=pytest.mark.slow) for cell in ("gru", "rnn"))]
)
def test_reports_do_not_change_the_weights(cell: str, command: Command, tmp_path: Path) -> None:
    def final(name: str, *more: str, terminal: bool = False) -> dict[str, bytes]:
        words = [
            *command.words,
            *arguments(cell=cell, dropout=0.3),
            *more,
            "--out",
            str(tmp_path / name),
        ]
        ended = run(words, on_a_terminal) if terminal else run(words)
        assert ended.code == 0, ended.stderr
        return {key: array.tobytes() for key, array in weights(tmp_path / name).items()}

    expected = final("plain")
    for number, more in enumerate(WAYS.values()):
        assert final(f"run-{number}", *more) == expected
    assert final("terminal", terminal=True) == expected
    assert final("other", *arguments(seed=2)) != expected
