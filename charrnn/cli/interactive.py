"""`charrnn sample --interactive`: take turns writing with a model, in a terminal or a pipe."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Any, get_args, get_type_hints

from charrnn.api import Model
from charrnn.cli.options import SETTING
from charrnn.config.sampling import SamplingConfig
from charrnn.errors import CharRNNError, TextError, UsageError
from charrnn.runtime.signals import keyboard_interrupts
from charrnn.sampling.conversation import Conversation
from charrnn.terminal.console import show_error, show_note, write_text

HELP = """Type some text and press Enter: the model continues it. Enter alone lets it
continue. Ctrl-C stops the model, and Ctrl-D quits.
  /temperature 0.7, /length 200, /top-p 0.9, /until 1line ...
               change a setting; without a value: back to the default
  /settings    show the settings
  /seed 7      restart the random numbers from this seed
  /undo        take back the last turn
  /reset       forget the text
  /quit        quit
To type a line that starts with /, start it with //."""


def converse(model: Model, prompt: str, settings: dict[str, Any], seed: int) -> None:
    """Take turns with a model until the input ends."""
    generator = model.generator
    config = SamplingConfig(**settings)
    conversation = Conversation(generator.model, generator.tokenizer, config, seed)
    if sys.stdin is None:
        raise UsageError("Standard input is closed.", "--interactive reads what you type there.")
    if sys.stdin.isatty():
        with suppress(ImportError):  # adds line editing and history to input()
            import readline  # noqa: F401
        show_note("Type some text and press Enter. /help lists the commands.")
    with suppress(EOFError), keyboard_interrupts():
        if prompt:
            write_text(prompt)
            take_turn(conversation, prompt)
        while True:
            try:
                handle_line(conversation, read_line())
            except CharRNNError as error:
                show_error(error, with_commands)
            except KeyboardInterrupt:  # at the prompt: drop the line that was being typed
                show_note("\nCtrl-D or /quit ends.")
    if sys.stdin.isatty():
        show_note("")  # put the shell's prompt on a new line


def with_commands(text: str) -> str:
    """Replace settings in backticks by the commands that change them."""
    return SETTING.sub(lambda found: f"/{found[1].replace('_', '-')}", text)


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


def handle_line(conversation: Conversation, line: str) -> None:
    """Run a line's command, or let the model continue the line."""
    if not line.startswith("/") or line.startswith("//"):
        take_turn(conversation, line[1:] if line.startswith("//") else line)
        return
    name, _, value = line[1:].strip().partition(" ")
    actions = commands(conversation, value.strip())
    if name.replace("-", "_") not in actions:
        known = [f"/{action.replace('_', '-')}" for action in actions]
        raise UsageError(
            f"There is no command {line.split()[0]!r}.",
            "Try /help.",
            meant=(line.split()[0], known),
        )
    actions[name.replace("-", "_")]()


def take_turn(conversation: Conversation, text: str) -> None:
    """Let the model read `text` and continue it, until it is done or Ctrl-C is pressed."""
    conversation.say(text)
    with suppress(KeyboardInterrupt):
        for piece in conversation.write():
            write_text(piece)
    write_text("\n")


def commands(conversation: Conversation, value: str) -> dict[str, Callable[[], None]]:
    """Return what each command does when it is given `value`."""

    def change(name: str) -> None:
        conversation.set(**{name: parse_setting(name, value)})

    names = [spec.name for spec in fields(SamplingConfig)]
    return {name: partial(change, name) for name in names} | {
        "settings": lambda: show_settings(conversation.config),
        "seed": lambda: conversation.seed(parse_number(int, "seed", value)),
        "undo": conversation.undo,
        "reset": conversation.reset,
        "help": lambda: show_note(HELP),
        "quit": quit_conversation,
    }


def parse_setting(name: str, value: str) -> Any:
    """Return the value of a setting; an empty text stands for the default."""
    if not value:
        return next(spec.default for spec in fields(SamplingConfig) if spec.name == name)
    hint = get_type_hints(SamplingConfig)[name]
    kinds = get_args(hint) or (hint,)
    kind = next((kind for kind in (int, float) if kind in kinds), None)
    return value.replace("\\n", "\n") if kind is None else parse_number(kind, name, value)


def parse_number(kind: type, name: str, value: str) -> Any:
    """Return the number that a text stands for; raise `UsageError` if it is not one."""
    try:
        return kind(value)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"/{name.replace('_', '-')} needs {what}, not {value!r}.") from None


def show_settings(config: SamplingConfig) -> None:
    """Show the settings."""
    show_note(
        "\n".join(
            f"  /{name.replace('_', '-')} {'(not set)' if value in (None, ()) else value}"
            for name, value in config.to_dict().items()
        )
    )


def quit_conversation() -> None:
    """Raise `EOFError`, as the end of the input does."""
    raise EOFError
