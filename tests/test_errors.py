"""What an error says, and the tree that the module's docstring draws against the classes."""

import re
import signal

import pytest

from charrnn import errors
from charrnn.errors import (
    CharRNNError,
    DivergedError,
    InterruptedRun,
    MachineError,
    ModelFileError,
    TextError,
    UsageError,
    did_you_mean,
)

EXIT_CODES = {UsageError: 2, TextError: 3, ModelFileError: 4, MachineError: 5, DivergedError: 6}


def classes() -> list[type[CharRNNError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CharRNNError)
    ]


@pytest.mark.parametrize(
    ("kind", "code"), EXIT_CODES.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_each_error_has_its_exit_code(kind: type[CharRNNError], code: int) -> None:
    assert kind("what and where").exit_code == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_the_code_of_its_signal(number: int, code: int) -> None:
    error = InterruptedRun("Stopped.", "Run it again.", signal_number=number)
    assert error.exit_code == code
    assert str(error) == "Stopped.\nRun it again."


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = {
        name: int(code) for name, code in re.findall(r"── (\w+) +(\d+) ", errors.__doc__ or "")
    }
    made = {kind.__name__: code for kind, code in EXIT_CODES.items()} | {
        "InterruptedRun": 128 + signal.SIGINT
    }
    assert drawn == made
    assert {kind.__name__ for kind in classes() if kind is not CharRNNError} == drawn.keys()
    assert {kind.__base__ for kind in classes()} == {CharRNNError, Exception}


def test_no_two_kinds_share_an_exit_code_and_a_bug_has_its_own() -> None:
    codes = [CharRNNError.exit_code, *EXIT_CODES.values()]
    assert len(set(codes)) == len(codes)
    assert CharRNNError.exit_code == 1


@pytest.mark.parametrize(
    ("hint", "shown"), [("", "what"), ("do this", "what\ndo this")], ids=["no hint", "hint"]
)
def test_the_text_is_the_message_and_then_the_hint(hint: str, shown: str) -> None:
    error = TextError("what", hint)
    assert (error.message, error.hint, str(error)) == ("what", hint, shown)


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [("lstn", "Did you mean 'lstm'?"), ("LSTM", ""), ("transformer", ""), ("", "")],
    ids=["a slip", "capitals", "something else", "nothing"],
)
def test_only_a_near_word_is_suggested(word: str, suggestion: str) -> None:
    assert did_you_mean(word, ("rnn", "gru", "lstm")) == suggestion


def test_the_choices_may_be_any_iterable() -> None:
    assert did_you_mean("shakespere", iter({"shakespeare": 1})) == "Did you mean 'shakespeare'?"
