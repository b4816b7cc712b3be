"""A text in the colours of its surprise.

Bits for each character, as a background or, without colours, in brackets.
"""

from rich.text import Text

from charrnn.terminal.console import stdout_console
from charrnn.terminal.escape import visible

# From so many bits for a character on, this style. Black on light and white on dark, whatever the
# terminal's own are.
SCALE = (
    (0.0, ""),
    (2.0, "black on color(230)"),
    (4.0, "black on color(222)"),
    (6.0, "black on color(209)"),
    (8.0, "white on color(160)"),
    (12.0, "bold white on color(53)"),
)
MARKED = 6.0  # bits from which a character is put in brackets where there are no colours


class Heatmap:
    """Writes a text on standard output as it comes.

    NO_COLOR, TERM=dumb and pipes get brackets instead of colours.
    """

    def __init__(self) -> None:
        self.console = stdout_console()
        self.coloured = self.console.color_system is not None and not self.console.no_color
        self.line = Text()
        self.marking = False
        self._legend()

    def _legend(self) -> None:
        if not self.coloured:
            self.line.append(f"[...] cost {MARKED:g} bits or more for each character.\n\n")
        else:
            self.line.append("bits for each character: ")
            for (low, style), high in zip(
                SCALE, [*(low for low, _ in SCALE[1:]), None], strict=True
            ):
                self.line.append(f" {low:g}-{high:g} " if high else f" {low:g} or more ", style)
            self.line.append("\n\n")
        self._flush()

    def add(self, text: str, bits: float) -> None:
        """Take the next piece of the text, which may be empty, and what it costs."""
        each = bits / max(1, len(text))
        if self.coloured:
            style = next(style for low, style in reversed(SCALE) if each >= low or not low)
            self.line.append(shown(text, marked=bool(style)), style)
        elif text:
            self._bracket(each >= MARKED)
            self.line.append(shown(text, marked=self.marking))
        if "\n" in text:
            self._flush()

    def finish(self) -> None:
        """Write what is left, and end the line."""
        self._bracket(False)
        if self.line:
            self.line.append("\n")
        self._flush()

    def _bracket(self, marking: bool) -> None:
        if marking != self.marking:
            self.line.append("[" if marking else "]")
            self.marking = marking

    def _flush(self) -> None:
        self.console.print(self.line, end="")
        self.line = Text()


def shown(text: str, *, marked: bool) -> str:
    """Make control characters visible, and line ends too where there is something to see about them."""
    text = visible(text)
    return text.replace("\n", "\u21b5\n") if marked else text
