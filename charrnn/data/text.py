"""Texts read from files, folders and standard input.

A text is not changed in any way, not even at line ends, except that a byte order mark at the start
of a file is dropped. `Text.notes` has messages for the user about the reading.
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
from charrnn.errors import TextError, UsageError, counted
from charrnn.tokenizers.base import to_bytes

TEXTS = "UTF-8 files (.gz, .bz2, .xz too), folders, or - for standard input"

Remarks = defaultdict[str, list[str]]  # a remark -> the files that it is about
# Called with a label for what is being done, the amount done, and the total if that is known.
OnProgress = Callable[[str, int, int | None], object]


def no_progress(what: str, done: int, total: int | None) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Text:
    """A text that can be read any number of times, and the files that it comes from.

    Attributes:
        name: Short name, also for a run: "notes" for notes.txt.gz, "stdin" for "-".
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
        characters: Number of its code points.
        bytes: Number of its UTF-8 bytes.
        notes: Messages for the user about the reading, one line each.
        files: The files, which are joined in this order with nothing between them.
        on_progress: Called while the text is read.
    """

    name: str
    sha256: str
    characters: int
    bytes: int
    notes: tuple[str, ...] = ()
    files: tuple[TextFile, ...] = field(default=(), repr=False, compare=False)
    on_progress: OnProgress = field(default=no_progress, repr=False, compare=False)

    def chunks(self, what: str = "Reading") -> Iterator[str]:
        """Yield the text in pieces; `what` is the label for `on_progress`.

        Raises:
            TextError: The text can no longer be read or, raised at its end, has changed.
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
        paths: Files, which may be compressed as .gz, .bz2 or .xz, folders (all text files below
            them, sorted by path, without hidden ones), or "-" for standard input.
        encoding: The encoding of the files, any that Python knows.
        on_progress: Called after each chunk, now and whenever the text is read again.

    Raises:
        UsageError: There is no path or no such encoding, or standard input is a terminal.
        TextError: A file is missing, unreadable, damaged or not in this encoding, or there is no
            text at all.
        MachineError: There is no room to keep standard input.
    """
    check_encoding(encoding)
    if not paths or "" in paths:
        raise UsageError("A text is needed, but the name of the file is empty.")
    remarks: Remarks = defaultdict(list)
    groups = [_text_files(path, encoding, remarks) for path in paths]
    total, size, used, empty = _total_bytes(groups), _Size(), list[TextFile](), list[str]()

    def on_bytes(done: int) -> None:
        known = done if total is None else max(done, total)
        on_progress(f"Reading {known / 1e6:,.1f} MB", done, total)

    for path, group in zip(paths, groups, strict=True):
        before = size.bytes
        for file in group:
            longer = _add_file(size, file, remarks, on_bytes)
            if longer is not None:
                size = longer
                used.append(file)
        if size.bytes == before:
            empty.append(display_name(path))
    remarks["Empty"] = empty if size.bytes else []
    notes = tuple(f"{remark}: {_listed(names)}." for remark, names in remarks.items() if names)
    if size.blank:
        nothing = f"nothing but white space ({counted(size.characters, 'character')})"
        what = nothing if size.bytes else "no text"
        names = _listed([display_name(path) for path in paths])
        raise TextError(f"There is {what} in {names}.", " ".join(notes))
    sha256 = size.digest.hexdigest()
    name, files = text_name(paths), tuple(used)
    return Text(name, sha256, size.characters, size.bytes, notes, files, on_progress)


@dataclass(frozen=True)
class _Size:
    """The size and the hash of a text, as far as it has been read."""

    characters: int = 0
    bytes: int = 0
    blank: bool = True
    digest: Any = field(default_factory=hashlib.sha256)


def _add_file(
    before: _Size, file: TextFile, remarks: Remarks, on_bytes: Callable[[int], object]
) -> _Size | None:
    """Return the size of a text with one more file, or None with a remark if it is left out."""
    digest, name = before.digest.copy(), display_name(file.path)
    file.check(lambda done: on_bytes(before.bytes + done))
    try:
        found = file.scan(
            digest, lambda done: on_bytes(before.bytes + done), before=before.characters
        )
    except NotTextError as error:
        if not file.in_folder:
            raise
        remarks[f"Left out, {error.what}"].append(name)
        return None
    if file.in_folder:
        remarks["Read"].append(name)
    for remark in found.remarks if not found.blank else ():
        remarks[remark].append(name)
    if found.has_nul:
        remarks["NUL characters, so perhaps UTF-16 or binary"].append(name)
    if found.has_bom:
        remarks["Byte order mark dropped from the start"].append(name)
    characters, size = before.characters + found.characters, before.bytes + found.bytes
    return _Size(characters, size, before.blank and found.blank, digest)


def check_encoding(encoding: str) -> None:
    """Raise `UsageError` unless Python knows a text encoding of this name."""
    try:
        with suppress(UnicodeError):  # two bytes are not valid UTF-32, but it is a text encoding
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
    if _is_run(path):
        raise TextError(
            f"{display_name(path)} is the folder of a run, not a text.",
            f"Name the text that is meant; to continue the run: charrnn train `resume` {path}",
        )
    return [TextFile(str(file), encoding, in_folder=True) for file in _files_below(path, remarks)]


def _is_run(folder: str) -> bool:
    """Return whether a folder is that of a run, which holds models, not texts."""
    files = ("model.safetensors", "last.safetensors")
    return any(os.path.lexists(os.path.join(folder, name)) for name in files)  # noqa: PTH118


def _is_folder(path: str) -> bool:
    with suppress(OSError, ValueError):  # opening it as a file reports the error
        return stat.S_ISDIR(Path(path).stat().st_mode)
    return False


def _files_below(folder: str, remarks: Remarks) -> list[Path]:
    files = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            hidden = sorted(name for name in [*folders, *names] if name.startswith("."))
            remarks["Left out, hidden"] += [display_name(str(Path(parent, n))) for n in hidden]
            # os.walk descends into the folders that are left in this list.
            runs = [name for name in folders if _is_run(str(Path(parent, name)))]
            remarks["Left out, the folder of a run"] += [str(Path(parent, name)) for name in runs]
            folders[:] = sorted(name for name in folders if name not in {*hidden, *runs})
            files += [Path(parent, name) for name in names if name not in hidden]
        return sorted(path for path in files if path.is_file())
    except OSError as error:
        raise unreadable(error.filename or folder, error) from None


def _raise(error: OSError) -> None:
    raise error


def _total_bytes(groups: Iterable[Iterable[TextFile]]) -> int | None:
    """Return about how many bytes of text there are, or None if that is not known yet."""
    sizes = [file.size for group in groups for file in group]
    return None if None in sizes else sum(size or 0 for size in sizes)


def text_name(paths: Sequence[str]) -> str:
    """Return the short name of a text, which is also that of a run."""
    if paths[0] == "-":
        first = "stdin"
    else:
        path = Path(paths[0]).resolve() if Path(paths[0]).is_dir() else Path(paths[0])
        unpacked = Path(path.stem) if path.suffix.lower() in UNPACK else path
        first = (path.name if path.is_dir() else unpacked.stem) or "text"
    return first if len(paths) == 1 else f"{first}-and-{len(paths) - 1}-more"


def _listed(names: Sequence[str]) -> str:
    """Return a list of names as text, shortened if there are more than three."""
    few = ", ".join(names[:3])
    if len(names) <= 3:
        return few
    return f"{few} and {len(names) - 3:,} more ({len(names):,} in all)"
