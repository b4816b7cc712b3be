"""An alignment as a heat map: a row for each symbol of the target, a column for each of the source.

The source's symbols are written downwards, so that columns stay narrow whatever they are called.
"""

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from charrnn.terminal.console import stdout_console
from charrnn.terminal.escape import visible_line

if TYPE_CHECKING:
    from charrnn.sampling.sources import Alignment

SHADES = " .:-=+*#%@"  # where there are no colours, from no attention to all of it
GREYS = tuple(range(232, 256))  # of the terminal's 256 colours, from black to white
MAX_HEIGHT = 12  # characters of a symbol that are written downwards
SPACE = "\u2423"


def write_alignment(found: "Alignment") -> None:
    """Write a heat map of an alignment to standard output."""
    console = stdout_console()
    coloured = console.color_system is not None and not console.no_color
    rows = [shown(symbol) for symbol in found.target]
    margin = max(map(cell_len, rows)) + 1
    fits = margin + 2 * len(found.source) <= console.width
    width = 2 if fits else 1
    console.print(Text(header([shown(symbol) for symbol in found.source], margin, width)), end="")
    for label, weights in zip(rows, found.weights, strict=True):
        line = Text(" " * (margin - 1 - cell_len(label)) + label + " ")
        for weight in weights.tolist():
            if coloured:
                grey = GREYS[min(int(weight * len(GREYS)), len(GREYS) - 1)]
                line.append(" " * width, f"on color({grey})")
            else:
                line.append(SHADES[min(int(weight * len(SHADES)), len(SHADES) - 1)].ljust(width))
        console.print(line)


def header(symbols: list[str], margin: int, width: int) -> str:
    """Return the symbols written downwards, each above its column, as lines.

    Args:
        symbols: What is above each column.
        margin: Columns before the first.
        width: Columns of the terminal for each symbol.
    """
    cut = [symbol[:MAX_HEIGHT] for symbol in symbols]
    height = max(map(len, cut))
    lines = []
    for row in range(height):
        cells = [symbol[row : row + 1].rjust(1) for symbol in cut]
        padded = (cell + " " * (width - cell_len(cell)) for cell in cells)
        lines.append((" " * margin + "".join(padded)).rstrip() + "\n")
    return "".join(lines)


def shown(symbol: str) -> str:
    """Return a symbol as something that can be seen."""
    return visible_line(symbol).replace("\\n", "\u21b5").replace(" ", SPACE)
