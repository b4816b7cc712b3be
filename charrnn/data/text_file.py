"""Files as chunks of text: unpacked, decoded, and readable any number of times.

No text has to fit in memory. Standard input and pipes, which can be read only once, are copied to
an unnamed temporary file.
"""

import bz2
import codecs
import errno
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
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from charrnn.data.not_text import HEAD, NotTextError, display_name, undecodable, unusual
from charrnn.errors import MachineError, TextError, UsageError
from charrnn.tokenizers.base import to_bytes

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

CHUNK = 1 << 20  # bytes
UNPACK: dict[str, Callable[[BinaryIO], IO[bytes]]] = {
    ".gz": lambda packed: cast(IO[bytes], gzip.GzipFile(fileobj=packed)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # what is not the file's fault
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class FileScan:
    """What one pass over a file found.

    Attributes:
        characters: Code points of its text.
        bytes: UTF-8 bytes of its text.
        blank: Whether it is nothing but white space.
        has_bom: Whether it starts with a byte order mark, which is not part of the text.
        has_nul: Whether it contains a NUL character.
        remarks: What is unusual about it, and what to do.
    """

    characters: int
    bytes: int
    blank: bool
    has_bom: bool
    has_nul: bool
    remarks: tuple[str, ...] = ()


class TextFile:
    """One file, pipe or standard input ("-"), which can be read any number of times.

    Args:
        path: Its path; a file whose name ends in .gz, .bz2 or .xz is unpacked.
        encoding: Any text encoding that Python knows.
        in_folder: It was found in a folder, so it counts as binary if there is a NUL in its first
            8,000 characters, as in git.
    """

    def __init__(self, path: str, encoding: str, *, in_folder: bool = False) -> None:
        self.path, self.encoding, self.in_folder = path, encoding, in_folder
        self._checked = False
        self._copy: BinaryIO | None = None  # of what can be read only once

    @property
    def size(self) -> int | None:
        """About how many bytes of text there are; None if that is known only after reading."""
        with suppress(OSError, ValueError):  # reading it reports the error
            if self.path != "-" and self._unpack is None:
                found = Path(self.path).stat()
                return found.st_size if stat.S_ISREG(found.st_mode) else None
        return None

    @property
    def _unpack(self) -> Callable[[BinaryIO], IO[bytes]] | None:
        return UNPACK.get(Path(self.path).suffix.lower())

    def chunks(self) -> Iterator[str]:
        """Yield the text in pieces that are not empty, without a byte order mark.

        Raises:
            UsageError: Standard input is a terminal, or closed.
            TextError: The file is missing, unreadable, damaged, or not text in this encoding
                (`NotTextError`).
        """
        texts = self._decoded()
        first = next(texts, "").removeprefix(BYTE_ORDER_MARK)
        return filter(None, chain([first], texts))

    def scan(
        self, digest: "Hash", on_bytes: Callable[[int], object], *, before: int = 0
    ) -> FileScan:
        """Read the text once and return what was found.

        Args:
            digest: Updated with the text as UTF-8.
            on_bytes: Called with the number of bytes read so far.
            before: Characters before this file in a joined text, for the offset in an error.

        Raises:
            UsageError: See `chunks`.
            TextError: See `chunks`; also `NotTextError` for a binary file in a folder.
        """
        texts = self._decoded()
        first = next(texts, "")
        if self.in_folder and "\0" in first[:HEAD]:
            raise NotTextError(self.path, "binary")
        characters, size, blank, has_nul, head = 0, 0, True, False, ""
        for text in chain([first.removeprefix(BYTE_ORDER_MARK)], texts):
            head += text[: HEAD - len(head)]
            data = to_bytes(text, before=before + characters)
            digest.update(data)
            characters, size = characters + len(text), size + len(data)
            blank = blank and (not text or text.isspace())
            has_nul = has_nul or "\0" in text
            on_bytes(size)
        has_bom = first.startswith(BYTE_ORDER_MARK)
        return FileScan(characters, size, blank, has_bom, has_nul, unusual(head))

    def _decoded(self) -> Iterator[str]:
        decoder, taken = None, 0
        for block in self._blocks():
            decoder = decoder or incremental_decoder(self.encoding, block)
            taken += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                offset = taken - len(error.object) + error.start
                raise undecodable(self.path, self.encoding, self._blocks(), offset) from None
            except UnicodeError as error:
                raise NotTextError(self.path, f"not {self.encoding.upper()}", str(error)) from None
            if text:
                yield text

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes, unpacked, and an empty block at their end."""
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
                raise unreadable(self.path, error) from None
            hint = "The file is damaged or incomplete: make or download it again."
            raise TextError(f"Cannot unpack {display_name(self.path)}: {error}.", hint) from None

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file, or the copy of it, at its start."""
        if not self._checked:
            self.check()
        if self._copy is not None:
            self._copy.seek(0)
            yield self._copy
        else:
            with self._open() as stream:
                yield stream

    def check(self, on_bytes: Callable[[int], object] = lambda done: None) -> None:
        """Check that the file can be read, and copy it if it can be read only once.

        The copy is in memory if it is small, or else in a temporary file.

        Args:
            on_bytes: Called with the number of bytes copied so far.

        Raises:
            UsageError: Standard input is a terminal, or closed.
            TextError: The file is missing or cannot be read.
            MachineError: There is no room for the copy.
        """
        with self._open() as stream:
            self._check_kind(stream)
            if self.path == "-" or not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                spooled = tempfile.SpooledTemporaryFile(max_size=CHUNK)  # noqa: SIM115
                copy = self._copy = cast(BinaryIO, spooled)
                weakref.finalize(self, copy.close)
                while block := self._read(stream, CHUNK):
                    self._write(copy, block)
                    on_bytes(copy.tell())
        self._checked = True

    def _write(self, copy: BinaryIO, block: bytes) -> None:
        try:
            copy.write(block)
        except OSError as error:
            name, reason = display_name(self.path), error.strerror or error
            folder = tempfile.tempdir or "a temporary folder"
            raise MachineError(
                f"Cannot keep {name} in {folder}: {reason}.",
                "Set TMPDIR to a folder with more room, or save the text in a file and name that.",
            ) from None

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
            raise unreadable(self.path, error) from None
        with stream:
            yield stream

    def _check_kind(self, stream: BinaryIO) -> None:
        """Raise an error for a terminal or a device, which might never end."""
        name = display_name(self.path)
        if stream.isatty():
            hint = "Send it a text, as in: charrnn train - < book.txt"
            raise UsageError(f"The text should come from {name}, but that is a terminal.", hint)
        if self.path != "-" and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            raise TextError(f"Cannot read {name}: it is a device, not a file.")


def incremental_decoder(encoding: str, head: bytes) -> codecs.IncrementalDecoder:
    """Return a decoder that gives the same text, block by block, as `bytes.decode` at once.

    Python's incremental decoders differ from that in one point: they require a byte order mark in
    UTF-16 and UTF-32.

    Args:
        encoding: The encoding.
        head: The first bytes of the text.
    """
    name = codecs.lookup(encoding).name
    marks = {
        "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
        "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    }
    if name in marks and not head.startswith(marks[name]):
        name += "-le" if sys.byteorder == "little" else "-be"
    return codecs.getincrementaldecoder(name)()


def unreadable(path: str, error: OSError | ValueError) -> TextError | MachineError:
    """Return the error for a file or folder that cannot be read."""
    name = display_name(path)
    if isinstance(error, FileNotFoundError):
        return _missing(Path(path), f"Cannot read {name}: no such file.")
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    kind = MachineError if isinstance(error, OSError) and error.errno in SCARCE else TextError
    return kind(f"Cannot read {name}: {reason[0].lower() + reason[1:]}.")


def _missing(path: Path, message: str) -> TextError:
    """Return the error for a missing file, which suggests one with a similar name."""
    names: list[str] = []
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.exists())
    except FileNotFoundError:
        return TextError(message, f"There is no folder {str(path.parent)!r} either.")
    except OSError:  # without a listing, there is nothing to suggest
        pass
    return TextError(message, meant=(path.name, names))
