"""Everything that can go wrong for a reason outside charrnn, as one small tree.

    CharRNNError
    ├── UsageError        2   an option, a configuration, a name that does not exist
    ├── TextError         3   the input text: missing, empty, not UTF-8, too short
    ├── ModelFileError    4   a model file: damaged, foreign, of a newer format
    ├── MachineError      5   the environment: disk, permission, lock, device, network
    ├── DivergedError     6   training produced a loss or gradient that is not finite
    └── InterruptedRun  130   a signal asked the run to stop, and it was saved

Each error has one line that says what is wrong and where, and an optional hint that says what to
do. Settings are named in backticks, as in `seq_len`; the command line shows them as flags, as in
--seq-len. Only the command line turns an error into an exit code.
"""

from collections.abc import Iterable


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, as in "1 step", "2,000 steps", "1.5 epochs", "3 batches".

    Args:
        number: At least 0.
        noun: One of them, in English; its plural is regular.
    """
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    plural = f"{noun}es" if noun.endswith(("tch", "x")) else f"{noun}s"
    return f"{shown} {noun if number == 1 else plural}"


class CharRNNError(Exception):
    """Base of all of charrnn's own errors.

    Attributes:
        message: One line: what is wrong, and where.
        hint: One line: what to do about it; empty if there is nothing to add.
        exit_code: The process's exit code when the error reaches the command line.
    """

    exit_code = 1

    def __init__(
        self, message: str, hint: str = "", *, meant: tuple[str, Iterable[str]] | None = None
    ) -> None:
        """Make an error.

        Args:
            message: What is wrong, and where.
            hint: What to do about it.
            meant: A name that is unknown, and the known ones: the hint is then the closest of
                them, if any is close.
        """
        super().__init__(message)
        self.message = message
        self.hint = (did_you_mean(*meant) if meant else "") or hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(CharRNNError):
    """An option, a combination of options or a name that cannot be used."""

    exit_code = 2


class TextError(CharRNNError):
    """A text that cannot be read or used."""

    exit_code = 3


class ModelFileError(CharRNNError):
    """A file that is not a model, is damaged, or is of a format that this version does not read."""

    exit_code = 4


class MachineError(CharRNNError):
    """The machine refuses: disk full, no permission, a folder in use, a missing device."""

    exit_code = 5


class DivergedError(CharRNNError):
    """Training reached a loss or a gradient that is not finite."""

    exit_code = 6


class InterruptedRun(CharRNNError):
    """A signal asked the run to stop; what was learned so far is saved.

    Attributes:
        exit_code: 128 plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, message: str, hint: str = "", *, signal_number: int) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a question that suggests the choice closest to `word`; empty if none is close."""
    from difflib import get_close_matches  # not while the process starts

    near = get_close_matches(word, list(choices), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""
