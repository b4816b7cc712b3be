"""What is shown of reading and encoding a text, and what a run keeps of it."""

import errno
import io
import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import CHARRNN, Terminal, start
from rich.console import Console
from small_runs import OPTIONS, TEXT, arguments, results

from charrnn.data import id_cache
from charrnn.data.text import read_text
from charrnn.errors import InterruptedRun
from charrnn.terminal import reading_progress
from charrnn.terminal.reading_progress import ReadingProgress


def console(*, live: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=live, force_interactive=live, width=80, soft_wrap=True
    )


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


@pytest.fixture
def long_file(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("text " * 1000)
    return str(tmp_path / "a.txt")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show everything at once."""
    for name in ("BEFORE_LINES", "BETWEEN_LINES", "BETWEEN_UPDATES"):
        monkeypatch.setattr(reading_progress, f"SECONDS_{name}", 0.0)


def test_what_takes_a_moment_shows_nothing(long_file: str) -> None:
    one = console(live=False)
    with ReadingProgress(one) as progress:
        progress("Reading", 5, 10)
        text = read_text([long_file], on_progress=progress)
        assert "".join(text.chunks("Encoding")) == "text " * 1000
    assert shown(one) == ""


def test_in_a_pipe_there_is_a_line_now_and_then(
    eager: None, monkeypatch: pytest.MonkeyPatch, long_file: str
) -> None:
    with ReadingProgress(one := console(live=False)) as progress:
        progress("Reading 1,000.0 MB", 430_000_000, 1_000_000_000)
        progress("Reading 1.0 MB", 1_000_100, 1_000_000)
        progress("Reading 5.0 MB", 5_000_000, None)
        progress("Reading 5.0 MB", 5_000_000, 0)  # of a file that says that it is empty
        list(read_text([long_file], on_progress=progress).chunks("Encoding"))
    assert shown(one).splitlines() == [
        "Reading 1,000.0 MB ... 43%",
        "Reading 1.0 MB ... 100%",
        "Reading 5.0 MB ...",
        "Reading 5.0 MB ...",
        "Reading 0.0 MB ... 100%",
        "Encoding ... 100%",
    ]
    monkeypatch.setattr(reading_progress, "SECONDS_BETWEEN_LINES", 1000.0)
    with ReadingProgress(two := console(live=False)) as progress:
        progress("Reading 1 MB", 1, 2)
        progress("Reading 2 MB", 2, 2)
    assert len(shown(two).splitlines()) == 1


def test_another_task_has_its_own_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(reading_progress.time, "monotonic", lambda: now[0])
    with ReadingProgress(one := console(live=False)) as progress:
        for at, what in (
            (0.0, "Reading 1 MB"),
            (0.9, "Reading 2 MB"),
            (1.1, "Encoding the training text"),
            (1.9, "Encoding the training text"),
            (2.2, "Encoding the validation text"),
            (7.0, "Encoding the validation text"),
            (7.3, "Encoding the validation text"),
        ):
            now[0] = 100.0 + at
            progress(what, int(10 * at), 100)
    assert shown(one).splitlines() == [
        "Encoding the validation text ... 22%, 7.8 s left",
        "Encoding the validation text ... 73%, 2.7 s left",
    ]


def test_a_text_that_is_read_again_has_its_own_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(reading_progress.time, "monotonic", lambda: now[0])
    with ReadingProgress(one := console(live=False)) as progress:
        for at in (0.0, 20.0, 40.0):
            for more, done in ((0.1, 3), (0.2, 10)):
                now[0] = 100.0 + at + more
                progress("Encoding", done, 10)
    assert shown(one) == ""


@pytest.mark.parametrize("live", [False, True], ids=["pipe", "terminal"])
def test_quiet_shows_nothing(live: bool, eager: None) -> None:
    with ReadingProgress(one := console(live=live), quiet=True) as progress:
        progress("Reading", 1, 2)
    assert shown(one) == ""


def test_on_a_terminal_a_bar_comes_and_goes(eager: None, long_file: str) -> None:
    text = read_text([long_file])
    with ReadingProgress(one := console(live=True)) as progress:
        progress("Reading 1,000.0 MB", 430_000_000, 1_000_000_000)
        assert progress.bar is not None
        progress.bar.refresh()
        assert "Reading 1,000.0 MB" in shown(one)
        assert " 43 %" in shown(one)
        progress("Encoding", 1, 2)
        progress.bar.refresh()
        assert "Encoding" in shown(one)
        list(replace(text, on_progress=progress).chunks("Encoding"))
        assert progress.bar is None, "the text is read to its end"
        assert shown(one).endswith("\x1b[2K"), "the line is cleared"
        progress.hide()
        progress("Encoding", 1, 2)
        assert progress.bar is not None, "it comes back"
    assert progress.bar is None
    assert shown(one).endswith("\x1b[2K")
    assert shown(one).count("\x1b[?25l") == shown(one).count("\x1b[?25h") == 2


def test_a_terminal_that_is_gone_does_not_end_the_reading(eager: None, long_file: str) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    for live in (False, True):
        one = Console(file=Gone(), force_terminal=live, force_interactive=live)
        with ReadingProgress(one) as progress:
            text = read_text([long_file], on_progress=progress)
            assert "".join(text.chunks()) == "text " * 1000


@pytest.mark.parametrize("call", ["set_live", "show_cursor", "push_render_hook"])
def test_a_signal_while_the_bar_is_begun_leaves_the_cursor(
    call: str, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = console(live=True)
    real = getattr(one, call)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(one, call, real)
        raise InterruptedRun("Stopped.", signal_number=15)

    monkeypatch.setattr(one, call, interrupted)
    with pytest.raises(InterruptedRun), ReadingProgress(one) as progress:
        progress("Reading", 1, 2)
    assert shown(one).rfind("\x1b[?25h") >= shown(one).rfind("\x1b[?25l")


# ---- what a run keeps ----


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of files into which a text is encoded from now on."""
    written: list[Path] = []
    real = id_cache.atomic_writer

    def atomic_writer(path: Path) -> Any:
        written.append(path)
        return real(path)

    monkeypatch.setattr(id_cache, "atomic_writer", atomic_writer)
    return written


def test_a_text_is_encoded_once_and_again_when_it_has_changed(
    text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, out = tmp_path / "text.txt", tmp_path / "run"
    mine.write_text(TEXT)
    written = count_encodings(monkeypatch)
    train = ("train", mine, "--out", out, *OPTIONS)
    charrnn.ok(*train)
    charrnn.ok(*train)
    assert "already complete" in charrnn.ok(*train).err
    assert written == [out / "text.ids"]
    (out / "text.ids").unlink()
    charrnn.ok(*train)
    (out / "text.ids").write_bytes(b"damaged")
    charrnn.ok(*train)
    assert len(written) == 3
    before = (out / "text.ids").read_bytes()
    mine.write_text(TEXT.replace("dog", "god"))  # as long as it was
    refused = charrnn(*train)
    assert (refused.code, "has changed since the run" in refused.err) == (3, True)
    assert ((out / "text.ids").read_bytes(), len(written)) == (before, 3)
    charrnn.ok(*train, "--fresh")
    assert (out / "text.ids").read_bytes() != before
    assert (tmp_path / "run.old-1" / "text.ids").read_bytes() == before


def test_what_is_kept_does_not_change_a_run(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    for out in ("one", "two"):
        charrnn.ok("train", text, "--out", tmp_path / out, *OPTIONS)
        charrnn.ok("train", text, "--out", tmp_path / out, *OPTIONS)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_ids_alone_are_no_run_to_be_set_aside(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "text.ids").write_bytes(b"of a run that never began")
    charrnn.ok("train", text, "--out", tmp_path / "run", "--fresh", *OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_eval_of_a_part_is_eval_of_a_file_with_it(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "whole.txt").write_text("dog \u00e9 hat. " * 50)
    (tmp_path / "part.txt").write_text(("dog \u00e9 hat. " * 50)[495:])
    score = ("--json", "--no-baselines")
    whole = charrnn.ok("eval", model, tmp_path / "whole.txt", *score, "--valid-fraction", "0.1").out
    part = charrnn.ok("eval", model, tmp_path / "part.txt", *score).out
    told = [json.loads(out) for out in (whole, part)]
    assert told[0].pop("text")["name"] == "whole"
    assert told[1].pop("text")["name"] == "part"
    assert told[0] == told[1]
    refused = charrnn("eval", model, tmp_path / "whole.txt", "--unknown", "error")
    assert (refused.code, "\u00e9" in refused.err) == (3, True)


ENDLESS = """
import time
from charrnn.tokenizers import CharTokenizer
encode = CharTokenizer.encode
def slow(self, text):
    time.sleep({seconds})
    return encode(self, text)
CharTokenizer.encode = slow
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_while_encoding_ends_the_run_at_once(
    number: int, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with start(
        ENDLESS.format(seconds=600) + CHARRNN, "train", text, "--out", out, *OPTIONS
    ) as process:
        try:
            while not list(out.glob(".text.ids.*.tmp")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (128 + number, "charrnn: Stopped before the first step.\n")
    assert os.listdir(out) == [".lock"]  # noqa: PTH208


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_text(text: Path, tmp_path: Path) -> None:
    """Peak memory of `train` on 40 MB and on 1 MB.

    With the whole text in memory it would be 40 MB or more above.
    """
    program = CHARRNN.replace("main()", "") + (
        "import os\n"
        "leave = os._exit\n"
        "def tell(code):\n"
        "    os.write(2, open('/proc/self/status', 'rb').read())\n"
        "    leave(code)\n"
        "os._exit = tell\n"
        "main()\n"
    )
    peaks = []
    for size in (1, 40):
        path = tmp_path / f"{size}.txt"
        path.write_text(TEXT * (size * 1_000_000 // len(TEXT)))
        more = arguments(valid=text, steps=1, seq_len=512, batch_size=64)
        words = ["train", path, "--out", tmp_path / f"run-{size}", *OPTIONS, *more]
        with start("import sys\n" + program, *words) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", err)[1]) / 1000)  # type: ignore[index]
    assert peaks[1] - peaks[0] < 20
