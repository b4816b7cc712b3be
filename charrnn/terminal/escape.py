"""Escape text from a model or a file, so that its control characters cannot affect the terminal."""

CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
ESCAPES = {code: f"\\x{code:02x}" for code in CONTROLS if chr(code) not in "\n\t"}
LINE_ESCAPES = ESCAPES | {ord("\\"): r"\\", ord("\n"): r"\n", ord("\t"): r"\t"}


def visible(text: str) -> str:
    r"""Return text with control characters escaped (\x1b), except newline and tab."""
    return text.translate(ESCAPES)


def visible_line(text: str) -> str:
    r"""Return text as one line, with all control characters and backslashes escaped."""
    return text.translate(LINE_ESCAPES)
