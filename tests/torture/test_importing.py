"""A signal while modules are imported, or while one call of a library computes for long."""

import signal
import subprocess
from pathlib import Path

import pytest
from command_line import process, start
from small_runs import OPTIONS

from charrnn.runtime.signals import SIGNALS

# Sends itself a signal when the `number`-th module is about to be imported.
LOOKING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from charrnn.__main__ import main

class Look:
    left = {number}

    def find_spec(self, name, path=None, target=None):
        Look.left -= 1
        if Look.left == 0:
            os.kill(os.getpid(), {signal})

sys.meta_path.insert(0, Look())
main()
"""
NUMBERS = (1, 5, 60, 250, 500)
MORE_NUMBERS = (*range(3, 60, 4), *range(60, 1500, 45))


@pytest.mark.parametrize(
    "number", [*NUMBERS, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_NUMBERS)]
)
def test_a_signal_while_modules_are_imported_ends_in_one_line(
    number: int, text: Path, model: Path, tmp_path: Path
) -> None:
    commands = {
        "train": ["train", text, "--out", tmp_path, "-q", *OPTIONS],
        "eval": ["eval", model, text],
        "sample": ["sample", model, "--length", "3"],
    }
    command = ("train", "eval", "sample")[number % 3 if number < 200 else number % 2]
    sent = SIGNALS[number % len(SIGNALS)]
    outcome = process(LOOKING.format(number=number, signal=int(sent)), *commands[command])
    if outcome.code == 0:  # there were fewer imports
        assert number > 1000 or command == "sample"
        return
    assert (outcome.code, outcome.out) == (128 + sent, "")
    assert outcome.err == f"charrnn: Stopped by {signal.Signals(sent).name}.\n"


COMPUTING = """
import hashlib
from contextlib import suppress
from charrnn.errors import InterruptedRun
from charrnn.runtime.signals import exit_at_once, stop_requests

with {block}:
    for _ in range(2):
        with suppress(InterruptedRun):  # if the signal comes before the call
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # minutes
"""
SWALLOWING = """
import time
from charrnn.errors import InterruptedRun
from charrnn.runtime.signals import stop_requests

with stop_requests(lambda: None) as stop:
    while True:
        try:
            print("ready", flush=True)
            time.sleep(600)
        except InterruptedRun:
            pass
"""


@pytest.mark.parametrize(
    "program",
    [
        COMPUTING.format(block="exit_at_once()"),
        COMPUTING.format(block="stop_requests(lambda: None)"),
        SWALLOWING,
    ],
    ids=["at once", "training", "swallowed"],
)
def test_a_library_that_computes_for_long_cannot_hold_a_signal_back(program: str) -> None:
    with start(program) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            running.send_signal(signal.SIGTERM)
            _, err = running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
    assert running.returncode == 143
    assert err == "charrnn: Stopped by SIGTERM.\n"


def test_what_a_library_makes_of_a_signal_is_still_the_signal() -> None:
    from charrnn.errors import InterruptedRun
    from charrnn.runtime.signals import stop_requests

    def converted() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except InterruptedRun as error:
            raise SystemError("returned a result with an exception set") from error

    with (
        pytest.raises(InterruptedRun, match="Stopped before the first step") as caught,
        stop_requests(lambda: None),
    ):
        converted()
    assert caught.value.exit_code == 143
