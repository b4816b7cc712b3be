"""The layout of a help page: two columns of plain text that fit a narrow terminal."""

import shutil
import sys
import textwrap
from collections.abc import Iterable

from rich.text import Text

from charrnn.terminal.console import stdout_console

MAX_WIDTH, MAX_LEFT = 100, 26

Section = tuple[str, list[tuple[str, str]]]  # a heading, and rows of a name and its meaning


def write_help(usage: str, about: str, sections: Iterable[Section], epilog: Iterable[str]) -> None:
    """Write a help page on standard output.

    Args:
        usage: How the command is typed.
        about: What it does.
        sections: What can be given; sections without rows are left out.
        epilog: Paragraphs for the end.
    """
    width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
    console, shown = stdout_console(), [one for one in sections if one[1]]
    longest = max((len(left) for _, rows in shown for left, _ in rows), default=0)
    column = min(longest, MAX_LEFT) + 4
    console.print(Text(f"Usage: {usage}", style="bold"))
    console.print(f"\n{textwrap.fill(about, width)}")
    for heading, rows in shown:
        console.print(Text(f"\n{heading}", style="bold"))
        for left, right in rows:
            sys.stdout.write(row(left, right, column, width))
    for paragraph in epilog:
        console.print(f"\n{textwrap.fill(paragraph, width, break_on_hyphens=False)}")


def row(left: str, right: str, column: int, width: int) -> str:
    """Return a row: a name, and its meaning beside it or, if the name is long, below it."""
    lines = textwrap.wrap(right, max(20, width - column), break_on_hyphens=False) or [""]
    beside = len(left) + 4 <= column
    first = f"  {left:{column - 2}}{lines.pop(0)}" if beside else f"  {left}"
    return "".join(
        f"{line.rstrip()}\n" for line in (first, *(f"{'':{column}}{one}" for one in lines))
    )
