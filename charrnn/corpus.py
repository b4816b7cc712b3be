"""Text from the outside world: read as it is, divided before anything is learned from it, and turned into ids.

Nothing about a text is changed on the way in, line ends included, except that a byte order mark at a file's start is
dropped. What a person should know about the reading is in `Text.notes`.
"""

import bz2
import codecs
import gzip
import hashlib
import lzma
import math
import os
import stat
import sys
import zlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from encodings.aliases import aliases
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import TextError, UsageError, did_you_mean
from charrnn.tokenizers.base import Ids, Tokenizer, to_bytes

MAX_VALID_FRACTION = 0.9
DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
# What the first bytes of a file say about it, asked only of files that cannot be decoded. Longer marks come first.
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

Remarks = defaultdict[str, list[str]]  # what there is to tell -> the files that it is about


@dataclass(frozen=True)
class Text:
    """A text and where it came from.

    Attributes:
        text: The files' contents, joined in the order given with nothing between them.
        name: A short name for display and for naming a run: "notes" for notes.txt.gz, "stdin" for standard input.
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
        notes: What a person should be told about the reading, one line each.
    """

    text: str
    name: str
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """A text as ids, with the sizes of the original that scores are divided by.

    Attributes:
        ids: One-dimensional, of the tokenizer's smallest unsigned type.
        characters: Code points of the original text.
        bytes: Bytes of the original text as UTF-8.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0; int64.
    """

    ids: Ids
    characters: int
    bytes: int
    starts: NDArray[np.int64] | None = None


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """Turn `text` into ids; raise `TextError` at a lone surrogate."""
    return Encoded(tokenizer.encode(text), len(text), len(to_bytes(text)))


def split(text: str, valid_fraction: float) -> tuple[str, str]:
    """Divide `text` into what trains and what validates: its end, rounded up to a whole character.

    Raises:
        UsageError: `valid_fraction` is not in (0, 0.9].
        TextError: A part would have fewer than two characters, so there would be nothing to predict in it.
    """
    if not 0 < valid_fraction <= MAX_VALID_FRACTION:
        raise UsageError(f"--valid-fraction must be above 0 and at most {MAX_VALID_FRACTION}, not {valid_fraction}.")
    share = Fraction(str(valid_fraction))  # exact: in floats, (1 - 0.9) * 10 is less than 1
    n_train = math.floor(len(text) * (1 - share))
    if min(n_train, len(text) - n_train) < 2:
        needed = max(math.floor(1 / share) + 1, math.ceil(2 / (1 - share)))
        raise TextError(
            f"The text has {len(text)} characters; at least {needed} are needed for --valid-fraction {valid_fraction}.",
            "Give more text, another --valid-fraction, or a text of its own for validation with --valid.",
        )
    return text[:n_train], text[n_train:]


def read_texts(paths: Sequence[str], *, encoding: str = "utf-8") -> Text:
    """Read and join texts.

    Args:
        paths: Each a file, a file compressed as .gz, .bz2 or .xz, a folder (every text file below it, sorted by path,
            hidden ones left out), or "-" for standard input.
        encoding: The files' encoding, any that Python knows.

    Raises:
        UsageError: There is no path or no such encoding, or a terminal would have to be read.
        TextError: A file is missing, unreadable, damaged or not in this encoding, or there is no text in all.
    """
    _check_encoding(encoding)
    if not paths or "" in paths:
        raise UsageError("A text is needed, but the name of the file is empty.")
    remarks: Remarks = defaultdict(list)
    parts = [_read(path, encoding, remarks) for path in paths]
    text = "".join(parts)
    if text:
        remarks["Empty"] = [_shown(path) for path, part in zip(paths, parts, strict=True) if not part]
    notes = tuple(f"{remark}: {_listed(names)}." for remark, names in remarks.items() if names)
    if not text or text.isspace():
        what = f"nothing but white space ({len(text):,} characters)" if text else "no text"
        raise TextError(f"There is {what} in {_listed([_shown(path) for path in paths])}.", " ".join(notes))
    return Text(text, _name(paths), hashlib.sha256(to_bytes(text)).hexdigest(), notes)


def _check_encoding(encoding: str) -> None:
    try:
        with suppress(UnicodeError):  # two bytes of UTF-32 are no text, but it is an encoding
            b"ab".decode(encoding)
    except (LookupError, ValueError):
        choices = sorted({*aliases, *aliases.values()})
        hint = did_you_mean(encoding.lower(), choices) or "Usual ones are utf-8, utf-16, cp1252 and latin-1."
        raise UsageError(f"--encoding {encoding!r} is not a text encoding that Python knows.", hint) from None


def _read(path: str, encoding: str, remarks: Remarks) -> str:
    if path != "-" and _is_folder(path):
        return _read_folder(path, encoding, remarks)
    return _without_mark(path, _decode(path, _read_bytes(path), encoding), remarks)


def _is_folder(path: str) -> bool:
    with suppress(OSError, ValueError):  # opening it as a file will say what is wrong
        return stat.S_ISDIR(Path(path).stat().st_mode)
    return False


def _read_folder(folder: str, encoding: str, remarks: Remarks) -> str:
    """Read every text file below `folder`, sorted by path; remark on what was left out."""
    texts = []
    for path in map(str, _files_below(folder, remarks)):
        try:
            text = _decode(path, _read_bytes(path), encoding)
        except NotTextError:
            remarks[f"Left out, not {encoding.upper()}"].append(_shown(path))
            continue
        if "\0" in text[:8000]:  # the sign that git goes by, too
            remarks["Left out, binary"].append(_shown(path))
        else:
            texts.append(_without_mark(path, text, remarks))
    return "".join(texts)


def _files_below(folder: str, remarks: Remarks) -> list[Path]:
    files = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            hidden = sorted(name for name in [*folders, *names] if name.startswith("."))
            remarks["Left out, hidden"] += [_shown(str(Path(parent, name))) for name in hidden]
            folders[:] = sorted(name for name in folders if name not in hidden)  # os.walk enters what is left in it
            files += [Path(parent, name) for name in names if name not in hidden]
        return sorted(path for path in files if path.is_file())
    except OSError as error:
        raise _cannot_read(error.filename or folder, error) from None


def _raise(error: OSError) -> None:
    raise error


def _read_bytes(path: str) -> bytes:
    """Return what a file, a pipe or standard input holds, unpacked if its name says that it is compressed."""
    if path == "-" and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Name a text file instead of '-'.")
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as stream:
            _check_readable(path, stream)
            raw = stream.read()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise _cannot_read(path, error) from None
    unpack = DECOMPRESS.get(Path(path).suffix.lower())
    if unpack is None or not raw:
        return raw
    try:
        return unpack(raw)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        hint = "The file is damaged or incomplete: make or download it again."
        raise TextError(f"Cannot unpack {_shown(path)}: {error}.", hint) from None


def _check_readable(path: str, stream: BinaryIO) -> None:
    """Refuse what would be waited for, or read, without end."""
    if stream.isatty():
        hint = "Send it a text, as in: charrnn train - < book.txt"
        raise UsageError(f"The text should come from {_shown(path)}, but that is a terminal.", hint)
    if path != "-" and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
        raise TextError(f"Cannot read {_shown(path)}: it is a device, not a file.")


def _cannot_read(path: str, error: OSError | ValueError) -> TextError:
    if isinstance(error, FileNotFoundError):
        return TextError(f"Cannot read {_shown(path)}: no such file.", _near(Path(path)))
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return TextError(f"Cannot read {_shown(path)}: {reason[0].lower() + reason[1:]}.")


def _near(path: Path) -> str:
    """Suggest a file of the same folder that has a similar name."""
    try:
        return did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir() if entry.exists()))
    except FileNotFoundError:
        return f"There is no folder {str(path.parent)!r} either."
    except OSError:  # a folder that cannot be listed suggests nothing
        return ""


class NotTextError(TextError):
    """A file that is there and can be read, but is not text in the encoding asked for."""


def _decode(path: str, raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start + len(raw) - len(error.object)  # utf-8-sig counts from behind the mark
        line = raw.count(b"\n", 0, start) + 1
        where = f"byte 0x{raw[start]:02x} at offset {start} (line {line})"
        raise NotTextError(f"{_shown(path)} is not {encoding.upper()}: {where}.", _guess(raw, start)) from None
    except UnicodeError as error:
        raise NotTextError(f"{_shown(path)} is not {encoding.upper()}: {error}.") from None


def _guess(raw: bytes, start: int) -> str:
    """Say what bytes that cannot be decoded from `start` on probably are, and what to do about it."""
    for mark, kind in MARKS.items():
        if raw.startswith(mark):
            return f"It looks like {kind}."
    if raw[8:10] == b'{"':  # the length of a header, and the header
        return "It looks like a safetensors file, a model: give the text that it should be used on."
    if b"\0" in raw[:8000]:
        return "It looks like binary data, not text."
    if not raw[:start].isascii():
        return "The text before that is in this encoding: the file is damaged or cut off there, or mixes encodings."
    return f"It may be Windows or Latin text: use --encoding {_western(raw)}."


def _western(raw: bytes) -> str:
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"  # which gives every byte a meaning
    return "cp1252"


def _without_mark(path: str, text: str, remarks: Remarks) -> str:
    """Drop a byte order mark, and remark on what makes a text look like something else."""
    if "\0" in text:
        remarks["NUL characters, so perhaps UTF-16 or binary"].append(_shown(path))
    if text.startswith("\ufeff"):
        remarks["Byte order mark dropped from the start"].append(_shown(path))
        return text[1:]
    return text


def _name(paths: Sequence[str]) -> str:
    if paths[0] == "-":
        first = "stdin"
    else:
        path = Path(paths[0]).resolve() if Path(paths[0]).is_dir() else Path(paths[0])
        unpacked = Path(path.stem) if path.suffix.lower() in DECOMPRESS else path
        first = (path.name if path.is_dir() else unpacked.stem) or "text"
    return first if len(paths) == 1 else f"{first}-and-{len(paths) - 1}-more"


def _shown(path: str) -> str:
    return "standard input" if path == "-" else repr(path)


def _listed(names: Sequence[str]) -> str:
    """Name the first few, and count them if there are more."""
    few = ", ".join(names[:3])
    return few if len(names) <= 3 else f"{few} and {len(names) - 3:,} more ({len(names):,} in all)"
