"""`charrnn sample --interactive`: write in turns with a model, on a terminal or through pipes."""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from charrnn.api import Model
from charrnn.config.sampling import SamplingConfig
from charrnn.errors import CharRNNError, TextError, UsageError
from charrnn.sampling.conversation import Conversation
from charrnn.terminal.console import show_error, show_note, write_text

HELP = """Type the beginning of something, and Enter: the model goes on from it. Enter alone
lets it go on. Ctrl-C stops it, and Ctrl-D ends.
  /temperature 0.7, /length 200, /top-p 0.9, /until 1line ...   change a setting;
               without a value: back to the default
  /settings    show them
  /seed 7      begin this sequence of random numbers
  /undo        take back the last turn
  /reset       forget the text
  /quit        end
A line that begins with // stands for one that begins with /."""


def converse(model: Model, prompt: str, settings: dict[str, Any], seed: int) -> None:
    """Take turns until the input ends."""
    writer = model.generator
    talk = Conversation(writer.model, writer.tokenizer, SamplingConfig(**settings), seed)
    if sys.stdin is None:
        raise UsageError("Standard input is closed.", "--interactive reads what you type there.")
    if sys.stdin.isatty():
        with suppress(ImportError):  # with it, a terminal's lines can be edited and called back
            import readline  # noqa: F401
        show_note("Type, and Enter. /help lists the commands.")
    if prompt:
        write_text(prompt)
        take_turn(talk, prompt)
    with suppress(EOFError):
        while True:
            try:
                answer(talk, read_line())
            except CharRNNError as error:
                show_error(error, with_commands)
            except KeyboardInterrupt:  # at the prompt: the line that was being typed is dropped
                show_note("\nCtrl-D or /quit ends.")
    if sys.stdin.isatty():
        show_note("")  # the shell's prompt begins a line of its own


def with_commands(text: str) -> str:
    """Write settings, which stand in backticks, as the commands that change them."""
    return re.sub(r"`([a-z_]+)`", lambda found: f"/{found[1].replace('_', '-')}", text)


def read_line() -> str:
    """Return the next line without its end; raise `EOFError` if there is none."""
    if sys.stdin.isatty():
        return input("> ")
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    try:
        return line.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02x} at offset {error.start} of the line"
        raise TextError(f"What was typed is not UTF-8: {byte}.") from None


def answer(talk: Conversation, line: str) -> None:
    """Do what a line asks for, or go on from it."""
    if not line.startswith("/") or line.startswith("//"):
        take_turn(talk, line[1:] if line.startswith("//") else line)
        return
    name, _, value = line[1:].strip().partition(" ")
    actions = commands(talk, value.strip())
    if name.replace("-", "_") not in actions:
        known = [f"/{action.replace('_', '-')}" for action in actions]
        raise UsageError(
            f"There is no command {line.split()[0]!r}.",
            "Try /help.",
            meant=(line.split()[0], known),
        )
    actions[name.replace("-", "_")]()


def take_turn(talk: Conversation, text: str) -> None:
    """Let the model read `text` and go on, until Ctrl-C."""
    talk.say(text)
    with suppress(KeyboardInterrupt):
        for piece in talk.write():
            write_text(piece)
    write_text("\n")


def commands(talk: Conversation, value: str) -> dict[str, Callable[[], None]]:
    """Return what each command does with `value`."""
    names = [spec.name for spec in fields(SamplingConfig)]
    return {name: lambda name=name: talk.set(**{name: setting(name, value)}) for name in names} | {
        "settings": lambda: show_settings(talk.config),
        "seed": lambda: talk.seed(number(int, "seed", value)),
        "undo": talk.undo,
        "reset": talk.reset,
        "help": lambda: show_note(HELP),
        "quit": leave,
    }


def setting(name: str, value: str) -> Any:
    """Read the value of a setting; an empty one is the default."""
    if not value:
        return next(spec.default for spec in fields(SamplingConfig) if spec.name == name)
    hint = get_type_hints(SamplingConfig)[name]
    kinds = get_args(hint) or (hint,)
    kind = next((kind for kind in (int, float) if kind in kinds), None)
    return value.replace("\\n", "\n") if kind is None else number(kind, name, value)


def number(kind: type, name: str, value: str) -> Any:
    """Read a number; raise `UsageError` if it is none."""
    try:
        return kind(value)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"/{name.replace('_', '-')} needs {what}, not {value!r}.") from None


def show_settings(config: SamplingConfig) -> None:
    """Write the settings."""
    show_note(
        "\n".join(
            f"  /{name.replace('_', '-')} {value}" for name, value in config.to_dict().items()
        )
    )


def leave() -> None:
    """End as the end of the input does."""
    raise EOFError
