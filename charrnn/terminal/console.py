"""The two streams: results go to standard output, everything else to standard error.

NO_COLOR and TERM=dumb are respected. Text from a model or a file is never interpreted as markup.
"""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from charrnn.errors import CharRNNError
from charrnn.terminal.escape import visible, visible_json, visible_message

COLOURS = (
    "black on bright_cyan",
    "black on bright_yellow",
    "black on bright_green",
    "black on bright_magenta",
)


def is_live(stream: Any) -> bool:
    """Return whether `stream` is a terminal that can move its cursor."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def stderr_console() -> Console:
    """Return the console for messages; FORCE_COLOR can add colours but not animation."""
    live = is_live(sys.stderr)
    return Console(
        stderr=True,
        force_interactive=live,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def stdout_console() -> Console:
    """Return the console for results in colours."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)


def hanging(text: str, console: Console, indent: int = 2) -> str:
    """Return text for a console: on a terminal, no word is cut, and lines after the first hang.

    A line that names a command stays whole, so that it can be copied. In a pipe all do.

    Args:
        text: One line or several.
        console: Where it will be shown.
        indent: Spaces before the lines that continue one.
    """
    if not console.is_terminal:
        return text
    return "\n".join(
        line
        if "charrnn " in line or cell_len(line) <= console.width
        else textwrap.fill(
            line,
            max(20, console.width),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
            drop_whitespace=True,
            replace_whitespace=False,
        )
        for line in text.splitlines()
    )


def show_error(error: CharRNNError, rename_settings: Callable[[str], str]) -> None:
    """Write an error's message and hint, one line each.

    Args:
        error: The error.
        rename_settings: Replaces settings in backticks by the names that the user types.
    """
    console = stderr_console()
    style = "bold red" if error.exit_code < 128 else "bold"
    message = visible_message(rename_settings(error.message))
    console.print(hanging(f"charrnn: {message}", console, 9), style=style)
    wide = not console.is_terminal or len(error.hint) + 2 <= console.width
    for part in [error.hint] if wide else error.hint.split("   "):  # commands to choose from
        if part:
            console.print(hanging(f"  {visible_message(rename_settings(part))}", console))


def show_note(text: str) -> None:
    """Write a message for the user that is not part of the result."""
    console = stderr_console()
    console.print(hanging(visible(text), console))


def write_json(value: Any) -> None:
    """Write one JSON value on standard output."""
    sys.stdout.write(json_line(value))


def json_line(value: Any) -> str:
    """Return a JSON value as a line for standard output; on a terminal nothing in it is hidden."""
    line = json.dumps(value, ensure_ascii=False) + "\n"
    return visible_json(line) if sys.stdout.isatty() else line


def write_text(text: str) -> None:
    """Write generated text at once, on a terminal with what is hidden escaped."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_coloured(pieces: list[tuple[str, bool]]) -> bool:
    r"""Write pieces of text in alternating colours, if standard output can show colours.

    Args:
        pieces: The text of each, escaped so that everything is visible, and whether to mark it.

    Returns:
        Whether anything was written.
    """
    console = stdout_console()
    if not console.is_terminal or console.color_system is None or console.no_color:
        return False
    for number, (text, marked) in enumerate(pieces):
        style = "bold white on red" if marked else COLOURS[number % len(COLOURS)]
        console.print(text, style=style, end="")
        if text.endswith("\\n"):
            console.print()
    console.print()
    return True
