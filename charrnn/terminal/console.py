"""The two streams: results go to standard output; everything else goes to standard error.

On a terminal a training shows a live bar; in a pipe, or with TERM=dumb, plain lines. NO_COLOR is
obeyed. Text that a model or a file made is never read as markup.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from charrnn.errors import CharRNNError
from charrnn.terminal.escape import visible

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
    """Return the console for messages; FORCE_COLOR may colour it, but never makes it move."""
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


def show_error(error: CharRNNError, naming: Callable[[str], str]) -> None:
    """Write what is wrong and what to do, on one line each.

    Args:
        error: What is wrong.
        naming: Writes the settings in a text, which stand in backticks, as a person gives them.
    """
    console = stderr_console()
    style = "bold red" if error.exit_code < 128 else "bold"
    console.print(f"charrnn: {visible(naming(error.message))}", style=style)
    if error.hint:
        console.print(f"  {visible(naming(error.hint))}")


def show_note(text: str) -> None:
    """Write a line that a person should know, but that is no result."""
    stderr_console().print(visible(text))


def write_json(value: Any) -> None:
    """Write one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_text(text: str) -> None:
    """Write generated text at once; on a terminal, control characters become visible."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_coloured(pieces: list[tuple[str, bool]]) -> bool:
    r"""Write pieces of text in alternating colours, if standard output can show any.

    Args:
        pieces: For each its text, with everything visible, and whether it is to be marked.

    Returns:
        Whether it was written.
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
