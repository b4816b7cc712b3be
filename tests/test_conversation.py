import io
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from command_line import CHARRNN, Outcome, Terminal, process, start
from fakes import FAKE, random_table, small_numpy_model, written

from charrnn import TextError, UsageError, load
from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.conversation import Conversation


def conversation(model: Any = None, **settings: Any) -> Conversation:
    return Conversation(
        model or small_numpy_model(), FAKE, SamplingConfig(**{"length": 20} | settings), 1
    )


def turn(talk: Conversation, text: str = "") -> str:
    talk.say(text)
    return "".join(talk.write())


def test_the_first_turn_is_a_sample() -> None:
    sample = written(small_numpy_model(), "ab", SamplingConfig(length=20))
    assert turn(conversation(), "ab") == sample


@pytest.mark.parametrize("settings", [{}, {"no_repeat": 3}, {"top_p": 0.5}], ids=str)
def test_turns_without_words_are_one_long_text(settings: dict[str, Any]) -> None:
    talk = conversation(**settings)
    text = written(small_numpy_model(), "", SamplingConfig(length=60, **settings))
    assert "".join(turn(talk) for _ in range(3)) == text


def test_the_state_is_that_after_all_that_was_said_and_written() -> None:
    talk = conversation(temperature=0)
    text = ""
    for words in ("ab", "cd", ""):
        answer = turn(talk, words)
        text += words
        greedy = SamplingConfig(length=20, temperature=0)
        assert answer == written(small_numpy_model(), text, greedy, seed=9)
        text += answer


def test_who_stops_reading_keeps_what_was_written_till_then() -> None:
    talk, model = conversation(temperature=0), small_numpy_model()
    talk.say("ab")
    begun = "".join(islice(talk.write(), 5))
    greedy = SamplingConfig(length=20, temperature=0)
    assert turn(talk, "c") == written(model, f"ab{begun}c", greedy)


def test_a_turn_can_be_taken_back_and_so_can_a_reset() -> None:
    talk = conversation(temperature=0)
    first = turn(talk, "ab")
    second = turn(talk, "c")
    talk.undo()
    assert turn(talk, "c") == second
    talk.reset()
    assert turn(talk, "ab") == first
    talk.undo()
    talk.undo()
    talk.undo()
    assert turn(talk, "c") == second
    for _ in range(2):
        talk.undo()
    with pytest.raises(UsageError, match="nothing to take back"):
        talk.undo()


def test_a_seed_begins_its_numbers_again() -> None:
    talk = conversation()
    texts = []
    for _ in range(2):
        talk.seed(5)
        talk.reset()
        texts.append(turn(talk, "a"))
    assert texts[0] == texts[1]


def test_what_is_refused_changes_nothing() -> None:
    talk = conversation(temperature=0)
    turn(talk, "ab")
    with pytest.raises(TextError):
        talk.say("xyz")
    with pytest.raises(UsageError):
        talk.set(temperature=-1)
    with pytest.raises(UsageError):
        talk.seed(-1)
    other = conversation(temperature=0)
    turn(other, "ab")
    assert turn(talk) == turn(other)


def test_a_turn_ends_at_a_stop_string_and_goes_on_after_it() -> None:
    model: Any = random_table()
    talk = Conversation(model, FAKE, SamplingConfig(length=50, stop="d"), 1)
    text = written(model, "", SamplingConfig(length=50))
    assert text.count("d") > 2
    assert [turn(talk) for _ in range(2)] == text.split("d")[:2]


# On the command line


def talk_to(model: Path, lines: str, *options: Any) -> Outcome:
    program = (
        f"import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO({lines.encode()!r}));{CHARRNN}"
    )
    return process(program, "sample", model, "--interactive", "--seed", 1, "-n", 12, *options)


def test_it_goes_on_from_each_line(
    model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \n\n//t\n")))
    outcome = charrnn.ok(
        "sample", model, "a ", "-i", "--seed", 1, "-n", 12, "-t", 0, "--unknown", "skip"
    )
    one, text, expected = load(model), "", ""
    for words in ("a ", "the ", "", "t"):
        text += words
        written = one.generate(text, length=12, temperature=0)
        expected += f"{'a ' if words == 'a ' else ''}{written}\n"
        text += written
    assert (outcome.out, outcome.err) == (expected, "")


def test_commands_change_what_comes(model: Path) -> None:
    lines = (
        "/temperature 0\n/length 5\nthe \n/undo\nthe \n/reset\n/seed 3\n/top-k 2\n/temperature\n"
    )
    lines += "\n/quit\nnever read\n"
    outcome = talk_to(model, lines)
    one = load(model)
    greedy = one.generate("the ", length=5, temperature=0)
    assert outcome == Outcome(
        0, f"{greedy}\n{greedy}\n{one.generate(seed=3, length=5, top_k=2)}\n", ""
    )


def test_settings_and_help_are_messages(model: Path) -> None:
    outcome = talk_to(model, "/help\n/stop \\n\n/settings\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert "/undo" in outcome.err
    assert "  /length 12\n" in outcome.err
    assert "  /stop ('\\n',)\n" in outcome.err


MISTAKES = {
    "/temprature 1": "There is no command '/temprature'.\n  Did you mean '/temperature'?",
    "/": "There is no command '/'.\n  Try /help.",
    "/temperature hot": "/temperature needs a number, not 'hot'.",
    "/length 1.5": "/length needs a whole number, not '1.5'.",
    "/top-p 2": "/top-p must be greater than 0 and at most 1, not 2.0.",
    "/seed": "/seed needs a whole number, not ''.",
    "/undo": "There is nothing to take back.",
    "Zo\u00eb": "The prompt has 2 characters that the model has never seen: "
    "'Z' (U+005A), '\u00eb' (U+00EB).\n  Use /unknown skip",
}


def test_a_mistake_is_said_and_the_turn_goes_on(model: Path) -> None:
    outcome = talk_to(model, "\n".join([*MISTAKES, "the \n"]))
    assert outcome.code == 0
    said = outcome.err.split("charrnn: ")[1:]
    for message, found in zip(MISTAKES.values(), said, strict=True):
        assert found.startswith(message)
    assert outcome.out == load(model).generate("the ", seed=1, length=12) + "\n"


def test_bytes_that_are_no_text_are_said(model: Path) -> None:
    program = f"import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO(b'a\\xff\\n'));{CHARRNN}"
    outcome = process(program, "sample", model, "--interactive", "--seed", 1)
    assert (outcome.code, outcome.out) == (0, "")
    assert (
        outcome.err == "charrnn: What was typed is not UTF-8: byte 0xff at offset 1 of the line.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--json"],
            "--json cannot be used with --interactive, which writes one text as you type.",
        ),
        (
            ["--beam", "2"],
            "--beam cannot be used with --interactive, which writes one text as you type.",
        ),
        (
            ["--num", "2"],
            "--num cannot be used with --interactive, which writes one text as you type.",
        ),
        (
            ["-"],
            "--interactive reads what you type from standard input, so the prompt cannot come "
            "there.",
        ),
    ],
    ids=["json", "beam", "num", "stdin"],
)
def test_what_does_not_go_with_turns(
    options: list[str], message: str, model: Path, charrnn: Terminal
) -> None:
    outcome = charrnn("sample", model, "-i", *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"charrnn: {message}\n")


def test_ctrl_c_stops_the_writing_and_not_the_program(model: Path) -> None:
    """A turn without end is interrupted; the next one is answered."""
    with start(CHARRNN, "sample", model, "-i", "--seed", 1, "-n", 1 << 40, stdin=-1) as running:
        running.stdin.write("the \n")  # type: ignore[union-attr]
        running.stdin.flush()  # type: ignore[union-attr]
        assert len(running.stdout.read(500)) == 500  # type: ignore[union-attr]
        running.send_signal(2)
        out, err = running.communicate("/length 7\n/reset\n/seed 1\nthe \n", timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out.endswith("\n" + load(model).generate("the ", seed=1, length=7) + "\n")
