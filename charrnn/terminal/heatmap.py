"""A text coloured by its surprisal: bits per character as a background colour, or in brackets."""

from rich.text import Text

from charrnn.terminal.console import stdout_console
from charrnn.terminal.escape import visible

# The style from this many bits per character on. Each sets both foreground and background, so that
# it is readable whatever the terminal's own colours are.
SCALE = (
    (0.0, ""),
    (2.0, "black on color(230)"),
    (4.0, "black on color(222)"),
    (6.0, "black on color(209)"),
    (8.0, "white on color(160)"),
    (12.0, "bold white on color(53)"),
)
MIN_BRACKETED = 6.0  # bits per character from which text is put in brackets, without colours


class Heatmap:
    """Writes a text to standard output piece by piece, coloured by its surprisal.

    With NO_COLOR, with TERM=dumb and in pipes, brackets are written instead of colours.
    """

    def __init__(self) -> None:
        self.console = stdout_console()
        self.coloured = self.console.color_system is not None and not self.console.no_color
        self.line = Text()
        self.in_brackets = False
        self._legend()

    def _legend(self) -> None:
        if not self.coloured:
            self.line.append(f"[...]: {MIN_BRACKETED:g} or more bits per character\n\n")
        else:
            self.line.append("bits per character: ")
            for (low, style), high in zip(
                SCALE, [*(low for low, _ in SCALE[1:]), None], strict=True
            ):
                self.line.append(f" {low:g}-{high:g} " if high else f" {low:g} or more ", style)
            self.line.append("\n\n")
        self._flush()

    def add(self, text: str, bits: float) -> None:
        """Add the next piece of the text, which may be empty, and its surprisal in bits."""
        each = bits / max(1, len(text))
        if self.coloured:
            style = next(style for low, style in reversed(SCALE) if each >= low or not low)
            self.line.append(escaped(text, show_newlines=bool(style)), style)
        elif text:
            self._set_brackets(each >= MIN_BRACKETED)
            self.line.append(escaped(text, show_newlines=self.in_brackets))
        if "\n" in text:
            self._flush()

    def finish(self) -> None:
        """Write what is left, and end the line."""
        self._set_brackets(False)
        if self.line:
            self.line.append("\n")
        self._flush()

    def _set_brackets(self, in_brackets: bool) -> None:
        """Open or close a bracket if that changes anything."""
        if in_brackets != self.in_brackets:
            self.line.append("[" if in_brackets else "]")
            self.in_brackets = in_brackets

    def _flush(self) -> None:
        self.console.print(self.line, end="")
        self.line = Text()


def escaped(text: str, *, show_newlines: bool) -> str:
    """Return text with control characters escaped, and if wanted with an arrow at each newline."""
    text = visible(text)
    return text.replace("\n", "\u21b5\n") if show_newlines else text
