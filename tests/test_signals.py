import os
import pty
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from command_line import CHARRNN, Outcome, Terminal, start
from small_runs import arguments, results

from charrnn.errors import InterruptedRun
from charrnn.runtime.signals import SIGNALS, stop_requests
from charrnn.storage.container import load
from charrnn.storage.run_folder import RunFolder

# A run whose steps take long enough to be interrupted; without SLOW it takes a moment.
SETTINGS = arguments(
    hidden_size=8,
    embedding_size=4,
    num_layers=1,
    batch_size=3,
    seq_len=16,
    dropout=0.2,
    precision="fp32",
    device="cpu",
    threads=1,
    steps=80,
    eval_every=25,
    log_every=3,
    save_every=7,
)
SLOW = """
import time
from charrnn.training.trainer import Trainer
train_once = Trainer.train_once
def slow(self):
    time.sleep({seconds} if self.progress.step < {endless} else 600)
    return train_once(self)
Trainer.train_once = slow
"""


@pytest.fixture(scope="module")
def expected(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("runs")
    assert run(["train", str(text), "--out", str(path), "--quiet", *SETTINGS]) == 0
    return results(path)


@contextmanager
def training(
    text: Path, out: Path, *, until: int, endless: int = 1000
) -> Iterator[subprocess.Popen[str]]:
    """Train in another process, and go on here when it has logged the step `until` or later."""
    program = SLOW.format(seconds=0.02, endless=endless) + CHARRNN
    with start(program, "train", text, "--out", out, *SETTINGS) as process:
        try:
            while not any(line["step"] >= until for line in RunFolder(out).metrics.read()):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=60)
    return Outcome(process.returncode, out, err)


def test_a_signal_sets_a_flag_and_the_second_one_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    announced: list[str] = []
    monkeypatch.setattr(os, "_exit", sys.exit)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests(lambda: announced.append("stopping")) as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop(), announced) == (signal.SIGTERM, ["stopping"])
        with pytest.raises(SystemExit) as left:
            os.kill(os.getpid(), signal.SIGINT)
        assert (left.value.code, announced) == (130, ["stopping"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_stopped_run_says_so_and_how_to_go_on(
    text: Path, tmp_path: Path, charrnn: Terminal, expected: dict[str, object]
) -> None:
    out = tmp_path / "a run"
    with training(text, out, until=10) as process:
        process.send_signal(signal.SIGINT)
        outcome = ended(process)
    assert (outcome.code, outcome.out) == (130, "")
    step = load(out / "last.safetensors")[1]["trainer"]["progress"]["step"]
    assert 10 <= step < 80
    *_, announced, said, hint = outcome.err.splitlines()
    assert (
        announced == "Stopping after this step, and saving... (again to stop now, without saving)"
    )
    assert said == f"charrnn: Stopped and saved at step {step}."
    command = hint.removeprefix("  Continue with: charrnn ").partition("   ")[0]
    assert shlex.split(command) == ["train", "--resume", str(out)]
    continued = charrnn.ok(*shlex.split(command))
    assert f"Continuing the run in {out} from step {step}." in continued.err
    assert results(out) == expected


def test_the_second_signal_does_not_wait(
    text: Path, tmp_path: Path, charrnn: Terminal, expected: dict[str, object]
) -> None:
    with training(text, tmp_path, until=15, endless=15) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        outcome = ended(process)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert load(tmp_path / "last.safetensors")[1]["trainer"]["progress"]["step"] == 14
    charrnn.ok("train", text, "--out", tmp_path, *SETTINGS)
    assert results(tmp_path) == expected


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(
    text: Path, tmp_path: Path, charrnn: Terminal, expected: dict[str, object]
) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    for number in (signal.SIGKILL, signal.SIGTERM):
        steps = [0, *(line["step"] for line in RunFolder(tmp_path).metrics.read())]
        with training(text, tmp_path, until=max(steps) + 3) as process:
            time.sleep(rng.random() * 0.3)
            process.send_signal(number)
            assert ended(process).code == (-number if number == signal.SIGKILL else 128 + number)
    charrnn.ok("train", text, "--out", tmp_path, *SETTINGS)
    assert results(tmp_path) == expected, f"random.Random({seed})"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_until_a_run_asks_for_the_first_time_a_signal_ends_what_is_done(number: int) -> None:
    """There is nothing to be saved yet."""
    announced: list[str] = []
    before = signal.getsignal(number)
    with (
        pytest.raises(InterruptedRun, match="Stopped before the first step") as caught,
        stop_requests(lambda: announced.append("stopping")),
    ):
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert announced == []
    assert signal.getsignal(number) is before


def test_a_closed_terminal_is_a_request_to_stop() -> None:
    with stop_requests(lambda: None) as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop() == signal.SIGHUP


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requests(lambda: None) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop() is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_does_not_keep_a_run_from_stopping() -> None:
    def announce() -> None:
        raise OSError(5, "Input/output error")

    with stop_requests(announce) as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop() == signal.SIGHUP


# Shows a bar in the middle of a text, and then takes for ever.
STAYING = """
import time
from charrnn.terminal import reading_progress as reading
reading.SECONDS_BEFORE_LINES = 0.0
show = reading.ReadingProgress.__call__
def stay(self, what, done, total):
    show(self, what, done, 2 * done)
    if self.bar and what.startswith({what!r}):
        time.sleep(600)
reading.ReadingProgress.__call__ = stay
"""


def screen_after(program: str, *arguments: object, signals: list[int]) -> tuple[int, bytes]:
    """Run on a terminal of its own until a cursor is hidden, and send signals.

    Returns:
        The exit code and the output.
    """
    keyboard, screen = pty.openpty()
    with (
        start(program, *arguments, stderr=screen, env={"TERM": "xterm"}) as process,
        os.fdopen(keyboard, "rb", 0) as tty,
    ):
        os.close(screen)
        try:
            shown = b""
            while b"\x1b[?25l" not in shown:
                shown += tty.read(1 << 16)
            for number in signals:
                process.send_signal(number)
            process.wait(timeout=60)
            with suppress(OSError):  # Linux says so where others say that the output has ended
                while more := tty.read(1 << 16):
                    shown += more
        finally:
            process.kill()
    return process.returncode, shown


@pytest.mark.parametrize(
    ("command", "what", "number"),
    [
        ("eval", "Reading", signal.SIGINT),
        ("eval", "Encoding", signal.SIGTERM),
        ("compare", "Encoding", signal.SIGINT),
        ("gradients", "Encoding", signal.SIGTERM),
    ],
)
def test_who_stops_the_reading_gets_the_cursor_back(
    command: str, what: str, number: int, model: Path, text: Path
) -> None:
    code, shown = screen_after(
        STAYING.format(what=what) + CHARRNN, command, model, text, signals=[number]
    )
    assert code == 128 + number
    line = f"charrnn: Stopped by {signal.Signals(number).name}.".encode()
    assert shown.rstrip(b"\r\n").endswith(b"\r\x1b[2K\x1b[?25h" + line)
