"""A text in colours: by its surprisal in bits per character, or by the value of a hidden unit."""

from dataclasses import dataclass

from rich.text import Text

from charrnn.terminal.console import stdout_console
from charrnn.terminal.escape import visible


@dataclass(frozen=True)
class Scale:
    """How values become styles.

    Attributes:
        what: What the values are.
        styles: The style from each value on. Each sets both foreground and background, so that it
            is readable whatever the terminal's own colours are.
        bracketed: The value from which text is put in brackets, without colours.
    """

    what: str
    styles: tuple[tuple[float, str], ...]
    bracketed: float


SURPRISAL = Scale(
    "bits per character",
    (
        (0.0, ""),
        (2.0, "black on color(230)"),
        (4.0, "black on color(222)"),
        (6.0, "black on color(209)"),
        (8.0, "white on color(160)"),
        (12.0, "bold white on color(53)"),
    ),
    bracketed=6.0,
)
UNIT = Scale(
    "value of the unit, of its largest",
    (
        (-1.0, "white on color(25)"),
        (-0.6, "black on color(74)"),
        (-0.2, ""),
        (0.2, "black on color(222)"),
        (0.6, "white on color(160)"),
    ),
    bracketed=0.5,
)


class Heatmap:
    """Writes a text to standard output piece by piece, coloured by a value of each piece.

    With NO_COLOR, with TERM=dumb and in pipes, brackets are written instead of colours.
    """

    def __init__(self, scale: Scale = SURPRISAL) -> None:
        self.scale = scale
        self.console = stdout_console()
        self.coloured = self.console.color_system is not None and not self.console.no_color
        self.line = Text()
        self.in_brackets = False
        self._legend()

    def _legend(self) -> None:
        if not self.coloured:
            self.line.append(f"[...]: {self.scale.bracketed:g} or more {self.scale.what}\n\n")
        else:
            self.line.append(f"{self.scale.what}: ")
            styles = self.scale.styles
            highs = [*(low for low, _ in styles[1:]), None]
            for (low, style), high in zip(styles, highs, strict=True):
                shown = f" {low:g} or more " if high is None else f" {low:g} to {high:g} "
                self.line.append(shown, style)
            self.line.append("\n\n")
        self._flush()

    def add(self, text: str, value: float) -> None:
        """Add the next piece of the text, which may be empty, and its value."""
        if self.coloured:
            fitting = (style for low, style in reversed(self.scale.styles) if value >= low)
            style = next(fitting, self.scale.styles[0][1])
            self.line.append(escaped(text, show_newlines=bool(style)), style)
        elif text:
            self._set_brackets(value >= self.scale.bracketed)
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
