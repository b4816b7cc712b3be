"""Errors for files that cannot be decoded, with a guess at what they are and what to do."""

import codecs
from collections.abc import Iterable

from charrnn.errors import TextError

# The first bytes of files that are likely to be given by mistake. A mark that begins like another
# comes before it.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32: use `encoding` utf-32",
    codecs.BOM_UTF16_LE: "UTF-16: use `encoding` utf-16",
    codecs.BOM_UTF16_BE: "UTF-16: use `encoding` utf-16",
    b"\x1f\x8b": "gzip data; if the name ended in .gz, it would be unpacked",
    b"BZh": "bzip2 data; if the name ended in .bz2, it would be unpacked",
    b"\xfd7zXZ\0": "xz data; if the name ended in .xz, it would be unpacked",
    b"\x28\xb5\x2f\xfd": "zstandard data; unpack it first",
    b"PK\x03\x04": "a zip archive (as .docx, .xlsx and .epub are too); export its text first",
    b"%PDF-": "a PDF; export its text first",
    b"\x89PNG": "a PNG image, not text",
    b"\xff\xd8\xff": "a JPEG image, not text",
}
HEAD = 8000  # bytes at the start of a file that are examined
NOT_CP1252 = b"\x81\x8d\x8f\x90\x9d"  # bytes that are undefined in Windows' Western encoding


class NotTextError(TextError):
    """A file can be read, but is not text in the given encoding.

    Attributes:
        what: A short description: "not UTF-8", or "binary".
    """

    def __init__(self, path: str, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(f"{display_name(path)} is {what}{where and ': '}{where}.", hint)
        self.what = what


def unusual(start: str) -> tuple[str, ...]:
    """Return what is unusual about a text, by its first `HEAD` characters, and what to do."""
    found, head = list[str](), start.lstrip().lower()
    if start.count("\r\n") > start.count("\n") // 2:
        found.append("Windows line ends, learned as they are: better save it with Unix ones (LF)")
    if head.startswith("{\\rtf"):
        found.append("Rich text, whose codes are learned too: save it as plain text first")
    elif head.startswith(("<!doctype", "<html", "<?xml", "<tei", "<body")):
        found.append("Mark-up, which is learned too: save it as plain text first")
    elif head.startswith(("\\documentclass", "%pdf")):
        found.append("LaTeX, whose commands are learned too (pandoc -t plain removes them)")
    return tuple(found)


def display_name(path: str) -> str:
    """Return the name of a path for messages."""
    return "standard input" if path == "-" else repr(path)


def undecodable(path: str, encoding: str, blocks: Iterable[bytes], offset: int) -> NotTextError:
    """Return the error for a file whose byte at `offset` cannot be decoded.

    Args:
        path: The file.
        encoding: The encoding that was tried.
        blocks: The file's bytes, from the start.
        offset: Position of the byte, counted from 0.
    """
    head, byte, before, line, ascii_before, western = b"", 0, 0, 1, True, True
    for block in blocks:
        part = block[: max(0, offset - before)]
        head = head or block[:HEAD]
        line += part.count(b"\n")
        ascii_before = ascii_before and part.isascii()
        western = western and not any(byte in block for byte in NOT_CP1252)
        if before <= offset < before + len(block):
            byte = block[offset - before]
        before += len(block)
    where = f"byte 0x{byte:02x} at offset {offset} (line {line})"
    hint = _guess(head, "cp1252" if western else "latin-1", ascii_before=ascii_before)
    return NotTextError(path, f"not {encoding.upper()}", where, hint)


def _guess(head: bytes, western: str, *, ascii_before: bool) -> str:
    """Return a sentence about what an undecodable file probably is.

    Args:
        head: Its first bytes.
        western: The Western encoding in which all its bytes are defined.
        ascii_before: Whether all bytes before the undecodable one are ASCII.
    """
    for mark, kind in MARKS.items():
        if head.startswith(mark):
            return f"It looks like {kind}."
    if head[8:10] == b'{"':  # eight bytes of header length, then the header
        return "It looks like a safetensors file, a model: give the text that it should be used on."
    if b"\0" in head:
        return "It looks like binary data, not text."
    if not ascii_before:
        return (
            "The text before that is in this encoding: the file is damaged or cut off there, or "
            "mixes encodings."
        )
    return f"It may be Windows or Latin text: use `encoding` {western}."
