import io
import json
import math
import os
import re
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from command_line import CHARRNN, Terminal, start
from rich.console import Console
from small_runs import OPTIONS

from charrnn.__main__ import run
from charrnn.cli.options import with_flags
from charrnn.config.model import ModelConfig
from charrnn.errors import DivergedError, InterruptedRun, MachineError, UsageError
from charrnn.evaluation.score import Score
from charrnn.terminal import console, escape, tables, training_progress
from charrnn.terminal.training_progress import TrainingProgress
from charrnn.training.events import (
    Busy,
    Evaluated,
    Note,
    Rescheduled,
    Sampled,
    SaveFailed,
    Started,
    Trained,
)

MOVES = re.compile(r"\x1b\[[\d;?]*[A-HJKfsul]|\r(?!\n)")  # what moves a cursor, hides it or erases
COLOURS = re.compile(r"\x1b\[[\d;]*m")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def view() -> TrainingProgress:
    return TrainingProgress(quiet=False)


def score(nats: float = 200.0, **fields: Any) -> Score:
    return Score(nats=nats, tokens=100, characters=100, bytes=100, **fields)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (10, "0:10"),
        (59.6, "1:00"),
        (65, "1:05"),
        (3600, "1:00:00"),
        (7384, "2:03:04"),
    ],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert tables.format_duration(seconds) == shown


def test_what_is_not_usual_about_a_model_is_named() -> None:
    assert tables.model_features(vars(ModelConfig(layer_norm=False))) == []
    unusual = ModelConfig(cell="rnn", activation="sigmoid", residual=True, attention=8)
    assert tables.model_features(vars(unusual)) == [
        "sigmoid",
        "layer norm",
        "residual",
        "attention 8",
    ]
    for path, shown in (
        ("input", "to the layers"),
        ("output", "past the layers"),
        ("both", "to the layers and past them"),
    ):
        with_ngrams = ModelConfig(layer_norm=False, ngram_embedding=4, ngram_path=path)
        expected = f"embeddings of up to 4 symbols {shown}"
        assert tables.model_features(vars(with_ngrams)) == [expected]


def test_megabytes() -> None:
    assert tables.format_megabytes(1_234_567_890) == "1,234.6 MB"


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (
        UsageError("No such thing: [red]x[/red] :smile:.", "Try \x1b[2J `seq_len`."),
        MachineError("No room."),
        InterruptedRun("Stopped.", signal_number=2),
    ):
        console.show_error(error, with_flags)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "charrnn: No such thing: [red]x[/red] :smile:.",
        "  Try \\x1b[2J --seq-len.",
        "charrnn: No room.",
        "charrnn: Stopped.",
    ]


def test_a_long_line_stays_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    console.show_error(DivergedError("word " * 100), str)
    assert capsys.readouterr().err.count("\n") == 1


def test_prose_hangs_on_a_terminal_and_no_word_or_command_is_cut() -> None:
    narrow = Console(file=Screen(), width=20, force_terminal=True)
    assert console.hanging("one two three four five six", narrow, 4) == (
        "one two three four\n    five six"
    )
    command = "Next: charrnn sample checkpoints/a-long-name"
    assert console.hanging(command, narrow) == command
    assert console.hanging("short\nlines", narrow) == "short\nlines"
    long = "one two three four five six"
    assert console.hanging(long, Console(file=io.StringIO(), width=20)) == long


def test_one_of_a_thing_has_no_plural() -> None:
    assert [tables.counted(number, "step") for number in (0, 1, 2000)] == [
        "0 steps",
        "1 step",
        "2,000 steps",
    ]


def test_a_terminal_says_what_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with view() as one:
        one.show(Busy("Measuring the speed of this machine"))
        one.show(Note("done"))
        one.show(Started(0, 36, 0, 1.0))
        one.show(Trained(33, 1.5, 0.01, 0.3, 20_000))
        one.show(Busy("Validating", 34))
        assert one.bar is not None
        one.bar.refresh()
    shown = COLOURS.sub("", screen.getvalue())
    assert "Measuring the speed of this machine ..." in shown
    assert re.search(r"step 33 of 36, 0\.\d s left", shown)
    assert "validating" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


def test_a_new_number_of_steps_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    one = view()
    one.steps = 100
    one.show(Rescheduled(10, 120))
    one.show(Rescheduled(20, 90))
    faster, slower = capsys.readouterr().err.splitlines()
    assert faster == "The machine is faster than expected: 120 steps now, to end in time."
    assert slower == "The machine is slower than expected: 90 steps now, to end in time."


def test_text_is_written_as_it_is_unless_a_terminal_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, shown in ((io.StringIO(), "a\x1b[2J\tb\n"), (Screen(), "a\\x1b[2J\tb\n")):
        monkeypatch.setattr(sys, "stdout", stream)
        console.write_text("a\x1b[2J\tb\n")
        assert stream.getvalue() == shown


def test_all_that_unicode_hides_is_escaped_and_nothing_that_is_seen() -> None:
    seen = {"ARABIC", "SYRIAC", "KAITHI"}  # signs of the category that have a shape of their own
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        shown = unicodedata.name(character, "").split(" ")[0] in seen and "LETTER MARK" not in (
            unicodedata.name(character)
        )
        if category in ("Cf", "Zl", "Zp") and not shown:
            assert code in escape.ESCAPES, hex(code)
        elif category == "Cc":
            assert code in escape.ESCAPES or character in "\n\t", hex(code)
        elif code in escape.ESCAPES:
            named = unicodedata.name(character, "unassigned")
            assert any(
                one in named for one in ("FILLER", "JOINER", "INHERENT", "unassigned", "HIEROGLYPH")
            ), named


def test_what_is_hidden_is_seen_in_all_that_a_terminal_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for code, escaped in escape.ESCAPES.items():
        with monkeypatch.context() as patch:
            check_that_it_is_seen(chr(code), escaped, patch, capsys)


def check_that_it_is_seen(
    character: str,
    escaped: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.show_error(UsageError(f"a{character}b", f"c{character}d"), with_flags)
    console.show_note(character)
    tables.write_table([("name", f"x{character}y")])
    view().warn(f"{character}!")
    out, err = capsys.readouterr()
    assert character not in out + err or character in "\r\n"
    assert (out + err).count(escaped) == 5
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    console.write_text(character)
    assert screen.getvalue() == escaped
    console.write_json({"text": character})
    line = screen.getvalue().removeprefix(escaped)
    assert character not in line
    assert json.loads(line) == {"text": character}


def test_a_message_with_a_name_of_two_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_error(MachineError("Cannot read a\nb\u2028c.", "Not\nthat."), with_flags)
    assert capsys.readouterr().err == "charrnn: Cannot read a\\nb\\u2028c.\n  Not\\nthat.\n"


def test_json_is_one_line_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": "ë\n[b]", "n": 1.5, "none": None}
    console.write_json(value)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == value


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    tables.write_table([("a", "1"), ("long name", "2\x07")], "Title")
    assert capsys.readouterr().out == "Title\n  a          1\n  long name  2\\x07\n"


def test_columns_are_aligned_names_to_the_left_and_figures_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.write_columns(["", "bits", "n"], [["a long name", "1.5", ""], ["b\x07", "10.25", "3"]])
    assert (
        capsys.readouterr().out
        == "                bits  n\n  a long name    1.5\n  b\\x07        10.25  3\n"
    )


def test_a_wide_value_is_folded_on_a_narrow_terminal_and_whole_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "0123456789" * 30
    tables.write_table([("name", value)])
    assert capsys.readouterr().out == f"  name  {value}\n"
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv("COLUMNS", "28")
    tables.write_table([("name", value)])
    lines = sys.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "  name  01234567890123456789"
    assert lines[1:] == [f"        {value[begin : begin + 20]}" for begin in range(20, 300, 20)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("31", ["           bits/char  bits/byte", "  a model        1.5          2"]),
        ("30", ["            bits   bits", "           /char  /byte", "  a model    1.5      2"]),
    ],
    ids=["wide enough", "too narrow"],
)
def test_the_names_of_columns_take_two_lines_where_there_is_no_room_for_one(
    columns: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", columns)
    tables.write_columns(["", "bits/char", "bits/byte"], [["a model", "1.5", "2"]])
    assert screen.getvalue().splitlines() == expected


def test_wide_characters_count_as_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    tables.write_columns(["", "n"], [["\u4e2d", "1"], ["abc", "2"]])
    assert capsys.readouterr().out == "       n\n  \u4e2d   1\n  abc  2\n"


def test_events_are_shown_line_by_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_progress, "SECONDS_BETWEEN_LINES", -1.0)
    one = view()
    one.steps, one.began = 1000, time.monotonic() - 10
    one.show(Trained(500, 1.5, 0.01, 0.3, 20_000))
    one.show(Evaluated(500, score(), True))
    one.show(Evaluated(600, score(210), False))
    one.show(Sampled(600, "one\x1b\ntwo"))
    one.show(SaveFailed(600, MachineError("Cannot save x: no room.")))
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"step 500 of 1,000, 0:10 left  loss 1\.500  [12],\d\d\d char/s", lines[0])
    bits = f"{2 / math.log(2):.3f}"
    assert lines[1] == (
        f"step 500 of 1,000  valid 2.0000 nats/token  {bits} bits/char  (best so far)"
    )
    assert lines[2].startswith("step 600 of 1,000  valid 2.1000")
    assert not lines[2].endswith("(best so far)")
    assert lines[3:] == [
        "--- sample at step 600 ---",
        "one\\x1b",
        "two",
        "---",
        "warning: Cannot save x: no room. Training continues.",
    ]


def test_lines_in_a_pipe_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    one = view()
    one.began = one.last_line = time.monotonic()
    for step in range(1, 100):
        one.show(Trained(step, 1.5, 0.01, 0.3, step))
    assert capsys.readouterr().err == ""


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    one = TrainingProgress(quiet=True)
    one.say("nothing")
    one.warn("something")
    assert capsys.readouterr().err == "warning: something\n"


def facts_of(one: Score, **more: Any) -> dict[str, Any]:
    """Return what `charrnn eval --json` would write of a score."""
    training = {"overlap": None, "is_validation_text": False}
    interval = {"interval": None, "no_interval": "the text is short"}
    facts = {"score": one.to_dict(), "training": training, "signature": "signature of it"}
    return facts | interval | more


def test_a_score_names_its_units_and_counts_what_was_unknown() -> None:
    rows = dict(tables.score_rows(facts_of(score(unknown=5, unknown_nats=60.0))))
    assert rows["bits per character"] == f"{2 / math.log(2):.4f}"
    assert rows["perplexity per token"] == f"{math.exp(2):.4f}"
    assert rows["perplexity without them"] == f"{math.exp(140 / 95):.4f}"
    assert rows["95 % interval"] == "none: the text is short"
    assert rows["seen in training"] == "not known"
    assert rows["signature"] == "signature of it"
    assert "perplexity without them" not in dict(tables.score_rows(facts_of(score())))
    shown = dict(tables.score_rows(facts_of(score(), interval=[1.5, 2.5])))
    assert shown["95 % interval"] == "1.5000 to 2.5000"


TRAIN = ["--steps", "6", "--eval-every", "3", "--save-every", "2", "--sample-every", "5"]


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "xterm"}, True),
    ],
    ids=["pipe", "dumb", "no colour", "colour"],
)
def test_a_pipe_gets_no_escapes_but_the_colours_that_were_asked_for(
    environment: dict[str, str],
    coloured: bool,
    text: Path,
    tmp_path: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = charrnn.ok("train", text, "--out", tmp_path / "run", *OPTIONS, *TRAIN)
    refused = charrnn("train", text, "--lr", "0")
    assert bool(COLOURS.search(refused.err)) == coloured
    for shown in (outcome.err, refused.err):
        assert not MOVES.search(shown)
        assert coloured or "\x1b" not in shown
    assert outcome.out == ""


@pytest.mark.parametrize(
    "environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["plain", "no colour", "dumb"]
)
def test_a_terminal_gets_a_bar_that_is_gone_in_the_end(
    environment: dict[str, str], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in ({"TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    assert run(["train", str(text), "--out", str(tmp_path / "run"), *OPTIONS, *TRAIN]) == 0
    shown = screen.getvalue()
    live = environment.get("TERM") != "dumb"
    assert bool(MOVES.search(shown)) == live
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == live, (
        "the cursor is hidden, and comes back"
    )
    assert "step 3 of 6  valid" in shown
    if environment:
        assert not any(re.search(r"\[[\d;]*3\dm", colour) for colour in COLOURS.findall(shown))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_what_a_model_writes_cannot_command_a_real_terminal(
    tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "text.txt").write_text("a\x1b[2Jb" * 100)
    charrnn.ok("train", tmp_path / "text.txt", "--out", tmp_path / "run", *OPTIONS)
    ours, theirs = os.openpty()
    with start(
        CHARRNN, "sample", tmp_path / "run", "\x1b", "--seed", 1, "-n", 60, stdout=theirs
    ) as process:
        os.close(theirs)
        assert process.wait(60) == 0
        shown = os.read(ours, 4096)
    os.close(ours)
    assert shown.startswith(b"\\x1b")
    assert b"\x1b" not in shown
    assert shown.endswith(b"\n")
