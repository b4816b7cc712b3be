"""Escape text from a model or a file, so that nothing in it affects the terminal or is hidden.

Besides control characters, those are characters that only format a text: they reorder it, as
U+202E does to whatever follows, or take no room, as U+200B. Variation selectors, which belong to
the character before them, are left.
"""

CONTROLS = (range(0x20), range(0x7F, 0xA0))
# Category Cf, line and paragraph separators, and fillers; without the signs of category Cf that
# are seen, such as U+0600. tests/test_terminal.py compares this with the Unicode tables.
INVISIBLE = (
    *(range(0xAD, 0xAE), range(0x34F, 0x350), range(0x61C, 0x61D), range(0x115F, 0x1161)),
    *(range(0x17B4, 0x17B6), range(0x180E, 0x180F), range(0x200B, 0x2010), range(0x2028, 0x202F)),
    *(range(0x2060, 0x2070), range(0x3164, 0x3165), range(0xFEFF, 0xFF00), range(0xFFA0, 0xFFA1)),
    *(range(0xFFF9, 0xFFFC), range(0x13430, 0x13440), range(0x1BCA0, 0x1BCA4)),
    *(range(0x1D173, 0x1D17B), range(0xE0000, 0xE0080)),
)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    units = chr(code).encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


HIDDEN = tuple(code for codes in (*CONTROLS, *INVISIBLE) for code in codes)
ESCAPES = {code: _escape(code) for code in HIDDEN if chr(code) not in "\n\t"}
LINE_ESCAPES = ESCAPES | {ord("\\"): r"\\", ord("\n"): r"\n", ord("\t"): r"\t"}
MESSAGE_ESCAPES = ESCAPES | {ord("\n"): r"\n"}
JSON_ESCAPES = {code: _json_escape(code) for code in HIDDEN if code >= 0x7F}


def visible(text: str) -> str:
    r"""Return text with what is hidden escaped (\x1b, \u202e), except newline and tab."""
    return text.translate(ESCAPES)


def visible_line(text: str) -> str:
    r"""Return text as one line, with all that is hidden and backslashes escaped."""
    return text.translate(LINE_ESCAPES)


def visible_message(text: str) -> str:
    """Return a message as one line, with what is hidden escaped: it may have a file's name."""
    return text.translate(MESSAGE_ESCAPES)


def visible_json(text: str) -> str:
    """Return a line of JSON of the same meaning, with what is hidden escaped as JSON does it."""
    return text.translate(JSON_ESCAPES)
