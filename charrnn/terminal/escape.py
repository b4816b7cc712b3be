"""Text that a model or a file made, for a terminal: no text should command it."""

CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
ESCAPES = {code: f"\\x{code:02x}" for code in CONTROLS if chr(code) not in "\n\t"}
# Of one line, in which everything has to be seen.
LINE_ESCAPES = ESCAPES | {ord("\\"): r"\\", ord("\n"): r"\n", ord("\t"): r"\t"}


def visible(text: str) -> str:
    r"""Write control characters as their escapes (\x1b), but newline and tab."""
    return text.translate(ESCAPES)


def visible_line(text: str) -> str:
    r"""Write all control characters as their escapes, newline, tab and backslash included."""
    return text.translate(LINE_ESCAPES)
