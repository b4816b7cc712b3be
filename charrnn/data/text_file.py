"""Files as chunks of text.

Unpacked, decoded, and read as often as it takes, so that no text has to fit in memory.

What can be read only once, standard input and pipes, is kept in an unnamed temporary file.
"""

import bz2
import codecs
import gzip
import lzma
import os
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO, cast

from charrnn.errors import MachineError, TextError, UsageError, did_you_mean

CHUNK = 1 << 20  # bytes
UNPACK: dict[str, Callable[[BinaryIO], IO[bytes]]] = {
    ".gz": lambda packed: cast(IO[bytes], gzip.GzipFile(fileobj=packed)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
# What the first bytes of a file say about it, asked only of files that cannot be decoded. Longer
# marks come first.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32: use --encoding utf-32",
    codecs.BOM_UTF16_LE: "UTF-16: use --encoding utf-16",
    codecs.BOM_UTF16_BE: "UTF-16: use --encoding utf-16",
    b"\x1f\x8b": "gzip data; if the name ended in .gz, it would be unpacked",
    b"BZh": "bzip2 data; if the name ended in .bz2, it would be unpacked",
    b"\xfd7zXZ\0": "xz data; if the name ended in .xz, it would be unpacked",
    b"\x28\xb5\x2f\xfd": "zstandard data; unpack it first",
    b"PK\x03\x04": "a zip archive (as .docx, .xlsx and .epub are too); export its text first",
    b"%PDF-": "a PDF; export its text first",
    b"\x89PNG": "a PNG image, not text",
    b"\xff\xd8\xff": "a JPEG image, not text",
}
NO_CP1252 = b"\x81\x8d\x8f\x90\x9d"  # bytes to which Windows' Western encoding gives no meaning


class NotTextError(TextError):
    """A file that is there and can be read, but is not text in the encoding asked for.

    Attributes:
        what: In two words: "not UTF-8", or "binary".
    """

    def __init__(self, path: str, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(f"{shown(path)} is {what}{where and ': '}{where}.", hint)
        self.what = what


class Source:
    """One file, pipe or standard input ("-"), to be read again and again.

    Args:
        path: Where it is; one that ends in .gz, .bz2 or .xz is unpacked.
        encoding: One that Python knows.
        in_folder: It was not named itself, so it is text only if its first 8,000 characters have no
            NUL, which is what git goes by, too.

    Attributes:
        marked: A byte order mark was dropped from its start.
        with_nul: A NUL character was seen.
    """

    def __init__(self, path: str, encoding: str, *, in_folder: bool = False) -> None:
        self.path, self.encoding, self.in_folder = path, encoding, in_folder
        self.marked = self.with_nul = False
        self._checked = False
        self._kept: BinaryIO | None = None  # a copy of what can be read only once

    @property
    def size(self) -> int | None:
        """About how many bytes of text there are; None if nobody can tell before reading them."""
        with suppress(OSError, ValueError):  # reading it will say what is wrong
            if self.path != "-" and self._unpack is None:
                found = Path(self.path).stat()
                return found.st_size if stat.S_ISREG(found.st_mode) else None
        return None

    @property
    def _unpack(self) -> Callable[[BinaryIO], IO[bytes]] | None:
        return UNPACK.get(Path(self.path).suffix.lower())

    def chunks(self) -> Iterator[str]:
        """Yield the text, in pieces that are not empty.

        Raises:
            UsageError: A terminal would have to be read, or standard input is closed.
            TextError: It is missing, unreadable, damaged, or not text in this encoding
                (`NotTextError`).
        """
        texts = self._decoded()
        first = next(texts, "")
        if self.in_folder and "\0" in first[:8000]:
            raise NotTextError(self.path, "binary")
        self.marked = first.startswith("\ufeff")
        for text in chain([first[1:] if self.marked else first], texts):
            self.with_nul = self.with_nul or "\0" in text
            if text:
                yield text

    def _decoded(self) -> Iterator[str]:
        decoder, taken = None, 0
        for block in self._blocks():
            decoder = decoder or incremental_decoder(self.encoding, block)
            taken += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise self._not_text(taken - len(error.object) + error.start) from None
            except UnicodeError as error:
                raise NotTextError(self.path, f"not {self.encoding.upper()}", str(error)) from None
            if text:
                yield text

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes, unpacked, and at their end an empty block."""
        with self._opened() as file:
            packed = self._unpack is not None and self._read(file, 1) != b""
            file.seek(0)
            stream = self._unpack(file) if self._unpack and packed else file
            block = b"start"
            while block:
                block = self._read(stream, CHUNK)
                yield block

    def _read(self, stream: IO[bytes], count: int) -> bytes:
        try:
            return stream.read(count)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise cannot_read(self.path, error) from None
            hint = "The file is damaged or incomplete: make or download it again."
            raise TextError(f"Cannot unpack {shown(self.path)}: {error}.", hint) from None

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file, or what was kept of it, at its start."""
        if not self._checked:
            self.keep()
        if self._kept is not None:
            self._kept.seek(0)
            yield self._kept
        else:
            with self._open() as stream:
                yield stream

    def keep(self, watch: Callable[[int], object] = lambda done: None) -> None:
        """See that this can be read, and copy it if it can be read only once.

        A small text stays in memory.

        Args:
            watch: Called with the number of bytes that are copied.

        Raises:
            UsageError: A terminal would have to be read, or standard input is closed.
            TextError: It is missing or cannot be read.
            MachineError: There is no room for the copy.
        """
        with self._open() as stream:
            self._check(stream)
            if self.path == "-" or not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                kept = self._kept = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=CHUNK))  # noqa: SIM115
                weakref.finalize(self, kept.close)
                while block := self._read(stream, CHUNK):
                    self._write(kept, block)
                    watch(kept.tell())
        self._checked = True

    def _write(self, kept: BinaryIO, block: bytes) -> None:
        try:
            kept.write(block)
        except OSError as error:
            what = f"Cannot keep {shown(self.path)} in {tempfile.gettempdir()}: {error.strerror or error}."
            hint = (
                "Set TMPDIR to a folder with more room, or save the text in a file and name that."
            )
            raise MachineError(what, hint) from None

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.path == "-":
            if sys.stdin is None:
                raise UsageError("Standard input is closed.", "Name a text file instead of '-'.")
            yield cast(BinaryIO, sys.stdin.buffer)
            return
        try:
            stream = Path(self.path).open("rb")  # noqa: SIM115 (closed below)
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
            raise cannot_read(self.path, error) from None
        with stream:
            yield stream

    def _check(self, stream: BinaryIO) -> None:
        """Refuse what would be waited for, or read, without end."""
        if stream.isatty():
            hint = "Send it a text, as in: charrnn train - < book.txt"
            raise UsageError(
                f"The text should come from {shown(self.path)}, but that is a terminal.", hint
            )
        if self.path != "-" and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            raise TextError(f"Cannot read {shown(self.path)}: it is a device, not a file.")

    def _not_text(self, offset: int) -> NotTextError:
        """Return the error for a file whose byte at `offset` cannot be decoded, after a second look at the file."""
        head, byte, before, line, ascii_before, western = b"", 0, 0, 1, True, True
        for block in self._blocks():
            part = block[: max(0, offset - before)]
            head = head or block[:8000]
            line += part.count(b"\n")
            ascii_before = ascii_before and part.isascii()
            western = western and not any(byte in block for byte in NO_CP1252)
            if before <= offset < before + len(block):
                byte = block[offset - before]
            before += len(block)
        where = f"byte 0x{byte:02x} at offset {offset} (line {line})"
        hint = _guess(head, "cp1252" if western else "latin-1", ascii_before=ascii_before)
        return NotTextError(self.path, f"not {self.encoding.upper()}", where, hint)


def incremental_decoder(encoding: str, head: bytes) -> codecs.IncrementalDecoder:
    """Return what decodes a text block by block to what `bytes.decode` would make of the whole.

    Python's incremental decoders differ from that in one point: they want a byte order mark in
    UTF-16 and UTF-32.
    """
    name = codecs.lookup(encoding).name
    marks = {
        "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
        "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    }
    if name in marks and not head.startswith(marks[name]):
        name += "-le" if sys.byteorder == "little" else "-be"
    return codecs.getincrementaldecoder(name)()


def _guess(head: bytes, western: str, *, ascii_before: bool) -> str:
    """Say what bytes that cannot be decoded probably are, and what to do about it.

    Args:
        head: The first 8,000.
        western: The Western encoding that gives each of them a meaning.
        ascii_before: All that come before the one that cannot be decoded are ASCII.
    """
    for mark, kind in MARKS.items():
        if head.startswith(mark):
            return f"It looks like {kind}."
    if head[8:10] == b'{"':  # the length of a header, and the header
        return "It looks like a safetensors file, a model: give the text that it should be used on."
    if b"\0" in head:
        return "It looks like binary data, not text."
    if not ascii_before:
        return "The text before that is in this encoding: the file is damaged or cut off there, or mixes encodings."
    return f"It may be Windows or Latin text: use --encoding {western}."


def cannot_read(path: str, error: OSError | ValueError) -> TextError:
    """Return the error for a file or folder that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return TextError(f"Cannot read {shown(path)}: no such file.", _near(Path(path)))
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return TextError(f"Cannot read {shown(path)}: {reason[0].lower() + reason[1:]}.")


def _near(path: Path) -> str:
    """Suggest a file of the same folder that has a similar name."""
    try:
        return did_you_mean(
            path.name, sorted(entry.name for entry in path.parent.iterdir() if entry.exists())
        )
    except FileNotFoundError:
        return f"There is no folder {str(path.parent)!r} either."
    except OSError:  # a folder that cannot be listed suggests nothing
        return ""


def shown(path: str) -> str:
    """Name a path in a message."""
    return "standard input" if path == "-" else repr(path)
