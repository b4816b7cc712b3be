"""A text from the outside world, read as it is.

Nothing about it is changed on the way in, line ends included, except that a byte order mark at a
file's start is dropped. What a person should know about the reading is in `Text.notes`.
"""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from encodings.aliases import aliases
from pathlib import Path
from typing import Any

from charrnn.data.not_text import NotTextError, display_name
from charrnn.data.text_file import UNPACK, TextFile, unreadable
from charrnn.errors import TextError, UsageError
from charrnn.tokenizers.base import to_bytes

TEXTS = "UTF-8 files (.gz, .bz2, .xz too), folders, or - for standard input"

Remarks = defaultdict[str, list[str]]  # what there is to tell -> the files that it is about
# Is told what is being done, how far it is, and of how much if that is known.
OnProgress = Callable[[str, int, int | None], object]


def no_progress(what: str, done: int, total: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Text:
    """A text that can be read again and again, and where it came from.

    Attributes:
        name: Short, for display and for naming a run: "notes" for notes.txt.gz, "stdin" for "-".
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
        characters: Its code points.
        bytes: Its bytes as UTF-8.
        notes: What a person should be told about the reading, one line each.
        files: What it was read from, joined in this order with nothing between.
        on_progress: Called as it is read.
    """

    name: str
    sha256: str
    characters: int
    bytes: int
    notes: tuple[str, ...] = ()
    files: tuple[TextFile, ...] = field(default=(), repr=False, compare=False)
    on_progress: OnProgress = field(default=no_progress, repr=False, compare=False)

    def chunks(self, what: str = "Reading") -> Iterator[str]:
        """Yield the text in pieces; `what` is being done is told to `on_progress`.

        Raises:
            TextError: It cannot be read any more; or, at its end, it is no longer what it was.
        """
        digest, done = hashlib.sha256(), 0
        for file in self.files:
            for chunk in file.chunks():
                digest.update(to_bytes(chunk, before=done))
                yield chunk
                done += len(chunk)
                self.on_progress(what, done, self.characters)
        if digest.hexdigest() != self.sha256:
            message = f"The text {self.name} was changed while it was read."
            raise TextError(message, "Run the command again.")


def read_text(
    paths: Sequence[str], *, encoding: str = "utf-8", on_progress: OnProgress = no_progress
) -> Text:
    """Read a text once from beginning to end, to make sure that it can be used.

    Args:
        paths: Each a file, a file compressed as .gz, .bz2 or .xz, a folder (every text file below it,
            sorted by path, hidden ones left out), or "-" for standard input.
        encoding: The files' encoding, any that Python knows.
        on_progress: Called after each chunk, now and whenever the text is read again.

    Raises:
        UsageError: There is no path or no such encoding, or a terminal would have to be read.
        TextError: A file is missing, unreadable, damaged or not in this encoding, or there is no
            text in all.
        MachineError: There is no room to keep standard input.
    """
    _check_encoding(encoding)
    if not paths or "" in paths:
        raise UsageError("A text is needed, but the name of the file is empty.")
    remarks: Remarks = defaultdict(list)
    groups = [_text_files(path, encoding, remarks) for path in paths]
    total, size, kept, empty = _total(groups), _Size(), list[TextFile](), list[str]()

    def on_bytes(done: int) -> None:
        known = done if total is None else max(done, total)
        on_progress(f"Reading {known / 1e6:,.1f} MB", done, total)

    for path, group in zip(paths, groups, strict=True):
        before = size.bytes
        for file in group:
            longer = _with_file(
                size, file, remarks, lambda done: on_progress("Reading", done, total)
            )
            if longer is not None:
                size = longer
                kept.append(file)
        if size.bytes == before:
            empty.append(display_name(path))
    remarks["Empty"] = empty if size.bytes else []
    notes = tuple(f"{remark}: {_listed(names)}." for remark, names in remarks.items() if names)
    if size.blank:
        nothing = f"nothing but white space ({size.characters:,} characters)"
        what = nothing if size.bytes else "no text"
        names = _listed([display_name(path) for path in paths])
        raise TextError(f"There is {what} in {names}.", " ".join(notes))
    sha256 = size.digest.hexdigest()
    name, files = _name(paths), tuple(kept)
    return Text(name, sha256, size.characters, size.bytes, notes, files, on_progress)


@dataclass(frozen=True)
class _Size:
    """How long a text is, as far as it was read."""

    characters: int = 0
    bytes: int = 0
    blank: bool = True
    digest: Any = field(default_factory=hashlib.sha256)


def _with_file(
    before: _Size, file: TextFile, remarks: Remarks, on_bytes: Callable[[int], object]
) -> _Size | None:
    """Return the size of a text with one more file at its end.

    Returns:
        None if the file is left out, with a remark.
    """
    digest, name = before.digest.copy(), display_name(file.path)
    file.keep(lambda done: on_bytes(before.bytes + done))
    try:
        found = file.scan(
            digest, lambda done: on_bytes(before.bytes + done), before=before.characters
        )
    except NotTextError as error:
        if not file.in_folder:
            raise
        remarks[f"Left out, {error.what}"].append(name)
        return None
    if found.has_nul:
        remarks["NUL characters, so perhaps UTF-16 or binary"].append(name)
    if found.has_bom:
        remarks["Byte order mark dropped from the start"].append(name)
    characters, size = before.characters + found.characters, before.bytes + found.bytes
    return _Size(characters, size, before.blank and found.blank, digest)


def _check_encoding(encoding: str) -> None:
    try:
        with suppress(UnicodeError):  # two bytes of UTF-32 are no text, but it is an encoding
            b"ab".decode(encoding)
    except (LookupError, ValueError):
        raise UsageError(
            f"`encoding` {encoding!r} is not a text encoding that Python knows.",
            "Usual ones are utf-8, utf-16, cp1252 and latin-1.",
            meant=(encoding.lower(), sorted({*aliases, *aliases.values()})),
        ) from None


def _text_files(path: str, encoding: str, remarks: Remarks) -> list[TextFile]:
    if path == "-" or not _is_folder(path):
        return [TextFile(path, encoding)]
    return [TextFile(str(file), encoding, in_folder=True) for file in _files_below(path, remarks)]


def _is_folder(path: str) -> bool:
    with suppress(OSError, ValueError):  # opening it as a file will say what is wrong
        return stat.S_ISDIR(Path(path).stat().st_mode)
    return False


def _files_below(folder: str, remarks: Remarks) -> list[Path]:
    files = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            hidden = sorted(name for name in [*folders, *names] if name.startswith("."))
            remarks["Left out, hidden"] += [display_name(str(Path(parent, n))) for n in hidden]
            # os.walk enters what is left in the list
            folders[:] = sorted(name for name in folders if name not in hidden)
            files += [Path(parent, name) for name in names if name not in hidden]
        return sorted(path for path in files if path.is_file())
    except OSError as error:
        raise unreadable(error.filename or folder, error) from None


def _raise(error: OSError) -> None:
    raise error


def _total(groups: Iterable[Iterable[TextFile]]) -> int | None:
    """Return about how many bytes of text there are, or None if nobody can tell yet."""
    sizes = [file.size for group in groups for file in group]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _name(paths: Sequence[str]) -> str:
    if paths[0] == "-":
        first = "stdin"
    else:
        path = Path(paths[0]).resolve() if Path(paths[0]).is_dir() else Path(paths[0])
        unpacked = Path(path.stem) if path.suffix.lower() in UNPACK else path
        first = (path.name if path.is_dir() else unpacked.stem) or "text"
    return first if len(paths) == 1 else f"{first}-and-{len(paths) - 1}-more"


def _listed(names: Sequence[str]) -> str:
    """Name the first few, and count them if there are more."""
    few = ", ".join(names[:3])
    if len(names) <= 3:
        return few
    return f"{few} and {len(names) - 3:,} more ({len(names):,} in all)"
