"""What is shown of reading and encoding a text, and what a run keeps of it."""

import io
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small import OPTIONS, TEXT, results
from terminal import CHARRNN, Terminal, start

from charrnn.data import id_cache
from charrnn.data.text import Text, read_texts
from charrnn.errors import InterruptedRun
from charrnn.terminal import reading_progress
from charrnn.terminal.reading_progress import ReadingView


def console(*, live: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=live, force_interactive=live, width=80, soft_wrap=True
    )


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


@pytest.fixture
def long_text(tmp_path: Path) -> Text:
    (tmp_path / "a.txt").write_text("text " * 1000)
    return read_texts([str(tmp_path / "a.txt")])


def test_what_takes_a_moment_shows_nothing(long_text: Text) -> None:
    one = console(live=False)
    with ReadingView(one) as view:
        view.measured(5, 10)
        assert "".join(view.passing("Encoding", long_text)) == "text " * 1000
    assert shown(one) == ""


def test_in_a_pipe_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, long_text: Text
) -> None:
    monkeypatch.setattr(reading_progress, "SECONDS_BEFORE_LINES", 0.0)
    monkeypatch.setattr(reading_progress, "SECONDS_BETWEEN_LINES", 0.0)
    one = console(live=False)
    with ReadingView(one) as view:
        view.measured(430_000_000, 1_000_000_000)
        view.measured(1_000_100, 1_000_000)
        view.measured(5_000_000, None)
        list(view.passing("Encoding", long_text))
    assert shown(one).splitlines() == [
        "Reading 1,000.0 MB ... 43%",
        "Reading 1.0 MB ... 100%",
        "Reading 5.0 MB ...",
        "Encoding ... 100%",
    ]
    monkeypatch.setattr(reading_progress, "SECONDS_BETWEEN_LINES", 1000.0)
    with ReadingView(two := console(live=False)) as view:
        view.measured(1, 2)
        view.measured(2, 2)
    assert len(shown(two).splitlines()) == 1


@pytest.mark.parametrize("live", [False, True], ids=["pipe", "terminal"])
def test_quiet_shows_nothing(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_progress, "SECONDS_BEFORE_LINES", 0.0)
    with ReadingView(one := console(live=live), quiet=True) as view:
        view.measured(1, 2)
    assert shown(one) == ""


def test_on_a_terminal_a_bar_comes_and_goes(
    monkeypatch: pytest.MonkeyPatch, long_text: Text
) -> None:
    monkeypatch.setattr(reading_progress, "SECONDS_BEFORE_LINES", 0.0)
    with ReadingView(one := console(live=True)) as view:
        view.measured(430_000_000, 1_000_000_000)
        assert view.bar is not None
        view.bar.refresh()
        assert "Reading 1,000.0 MB" in shown(one)
        assert " 43 %" in shown(one)
        view.next_line = 0.0
        list(view.passing("Encoding", long_text))
        view.bar.refresh()
        assert "Encoding" in shown(one)
    assert shown(one).endswith("\x1b[2K"), "the line is cleared"


@pytest.mark.parametrize("call", ["set_live", "show_cursor", "push_render_hook"])
def test_a_signal_while_the_bar_is_begun_leaves_the_cursor(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_progress, "SECONDS_BEFORE_LINES", 0.0)
    one = console(live=True)
    real = getattr(one, call)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(one, call, real)
        raise InterruptedRun("Stopped.", signal_number=15)

    monkeypatch.setattr(one, call, interrupted)
    with pytest.raises(InterruptedRun), ReadingView(one) as view:
        view.measured(1, 2)
    assert shown(one).rfind("\x1b[?25h") >= shown(one).rfind("\x1b[?25l")


# ---- what a run keeps ----


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of files into which a text is encoded from now on."""
    written: list[Path] = []
    real = id_cache.write_stream

    def write_stream(path: Path, pieces: Any) -> None:
        written.append(path)
        real(path, pieces)

    monkeypatch.setattr(id_cache, "write_stream", write_stream)
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
    assert whole == part
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
def test_memory_does_not_grow_with_the_text(model: Path, tmp_path: Path) -> None:
    """Peak memory of `train` on 60 MB and on 1 MB.

    With the whole text in memory it would be 60 MB or more above.
    """
    program = CHARRNN.replace("main()", "") + (
        "import atexit\natexit.register(lambda: sys.stderr.write(open('/proc/self/status').read()))\nmain()\n"
    )
    peaks = []
    for size in (1, 60):
        path = tmp_path / f"{size}.txt"
        path.write_text(TEXT * (size * 1_000_000 // len(TEXT)))
        more = [
            "--valid",
            str(tmp_path / "1.txt"),
            "--steps",
            "1",
            "--seq-len",
            "512",
            "--batch-size",
            "64",
        ]
        settings = [word for word in OPTIONS if word]
        words = ["train", path, "--out", tmp_path / f"run-{size}", *settings, *more]
        with start("import sys\n" + program, *words) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", err)[1]) / 1000)  # type: ignore[index]
    assert peaks[1] - peaks[0] < 30
