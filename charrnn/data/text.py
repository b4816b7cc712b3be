"""Text from the outside world: read as it is, and turned into ids.

Nothing about a text is changed on the way in, line ends included, except that a byte order mark at
a file's start is dropped. What a person should know about the reading is in `Text.notes`.
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

import numpy as np
from numpy.typing import NDArray

from charrnn.data.text_file import UNPACK, NotTextError, Source, cannot_read, shown
from charrnn.errors import TextError, UsageError, did_you_mean
from charrnn.tokenizers.base import Ids, Tokenizer, to_bytes

Remarks = defaultdict[str, list[str]]  # what there is to tell -> the files that it is about
Watch = Callable[
    [int, int | None], object
]  # is told how many bytes were read, and of how many if that is known


@dataclass(frozen=True)
class Text:
    """A text that can be read again and again, and where it came from.

    Attributes:
        name: A short name for display and for naming a run: "notes" for notes.txt.gz, "stdin" for
            standard input.
        sha256: SHA-256 of the text as UTF-8, in hexadecimal digits.
        characters: Its code points.
        bytes: Its bytes as UTF-8.
        notes: What a person should be told about the reading, one line each.
        sources: The files, joined in this order with nothing between them.
    """

    name: str
    sha256: str
    characters: int
    bytes: int
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = field(default=(), repr=False, compare=False)

    def chunks(self) -> Iterator[str]:
        """Yield the text in pieces.

        Raises:
            TextError: It cannot be read any more; or, at its end, it is no longer what it was at
                first.
        """
        size = Size()
        for source in self.sources:
            yield from size.measuring(source.chunks())
        if size.sha256 != self.sha256:
            raise TextError(
                f"The text {self.name} was changed while it was read.", "Run the command again."
            )


class Size:
    """How long a text is, as far as it was read, and its SHA-256."""

    def __init__(self) -> None:
        self.characters = self.bytes = 0
        self.blank = True
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of the text as UTF-8, in hexadecimal digits."""
        return self._digest.hexdigest()

    def add(self, chunk: str) -> None:
        """Count what comes next in the text; raise `TextError` at a lone surrogate."""
        data = to_bytes(chunk, before=self.characters)
        self._digest.update(data)
        self.characters += len(chunk)
        self.bytes += len(data)
        self.blank = self.blank and chunk.isspace()

    def measuring(self, chunks: Iterable[str]) -> Iterator[str]:
        """Yield the chunks of a text, and count them."""
        for chunk in chunks:
            self.add(chunk)
            yield chunk

    def copy(self) -> "Size":
        """Return one that can go on by itself."""
        other = Size()
        vars(other).update(vars(self), _digest=self._digest.copy())
        return other


@dataclass(frozen=True)
class Encoded:
    """A text as ids, with the sizes of the original that scores are divided by.

    Attributes:
        ids: One-dimensional, of the tokenizer's smallest unsigned type.
        characters: Code points of the original text.
        bytes: Bytes of the original text as UTF-8.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0;
            int64.
    """

    ids: Ids
    characters: int
    bytes: int
    starts: NDArray[np.int64] | None = None


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """Turn `text` into ids; raise `TextError` at a lone surrogate.

    `charrnn.data.id_cache` does it for a text of any size.
    """
    return Encoded(tokenizer.encode(text), len(text), len(to_bytes(text)))


def strangers(tokenizer: Tokenizer, chunks: Iterable[str]) -> list[str]:
    """Return the distinct characters of a text that a tokenizer does not know, in order of appearance."""
    return list(
        dict.fromkeys(
            stranger for chunk in chunks for stranger in tokenizer.unknown_characters(chunk)
        )
    )


def read_texts(
    paths: Sequence[str], *, encoding: str = "utf-8", watch: Watch = lambda done, total: None
) -> Text:
    """Read texts once from beginning to end, to make sure that they can be used and to know their size.

    Args:
        paths: Each a file, a file compressed as .gz, .bz2 or .xz, a folder (every text file below
            it, sorted by path, hidden ones left out), or "-" for standard input.
        encoding: The files' encoding, any that Python knows.
        watch: Called after each chunk.

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
    groups = [_sources(path, encoding, remarks) for path in paths]
    total, size, kept, empty = _total(groups), Size(), list[Source](), list[str]()
    for path, group in zip(paths, groups, strict=True):
        before = size.bytes
        for source in group:
            longer = _joined(size, source, remarks, lambda done: watch(done, total))
            if longer is not None:
                size = longer
                kept.append(source)
        if size.bytes == before:
            empty.append(shown(path))
    remarks["Empty"] = empty if size.bytes else []
    notes = tuple(f"{remark}: {_listed(names)}." for remark, names in remarks.items() if names)
    if size.blank:
        what = (
            f"nothing but white space ({size.characters:,} characters)" if size.bytes else "no text"
        )
        raise TextError(
            f"There is {what} in {_listed([shown(path) for path in paths])}.", " ".join(notes)
        )
    return Text(_name(paths), size.sha256, size.characters, size.bytes, notes, tuple(kept))


def _check_encoding(encoding: str) -> None:
    try:
        with suppress(UnicodeError):  # two bytes of UTF-32 are no text, but it is an encoding
            b"ab".decode(encoding)
    except (LookupError, ValueError):
        choices = sorted({*aliases, *aliases.values()})
        hint = (
            did_you_mean(encoding.lower(), choices)
            or "Usual ones are utf-8, utf-16, cp1252 and latin-1."
        )
        raise UsageError(
            f"--encoding {encoding!r} is not a text encoding that Python knows.", hint
        ) from None


def _sources(path: str, encoding: str, remarks: Remarks) -> list[Source]:
    if path == "-" or not _is_folder(path):
        return [Source(path, encoding)]
    return [Source(str(file), encoding, in_folder=True) for file in _files_below(path, remarks)]


def _is_folder(path: str) -> bool:
    with suppress(OSError, ValueError):  # opening it as a file will say what is wrong
        return stat.S_ISDIR(Path(path).stat().st_mode)
    return False


def _files_below(folder: str, remarks: Remarks) -> list[Path]:
    files = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            hidden = sorted(name for name in [*folders, *names] if name.startswith("."))
            remarks["Left out, hidden"] += [shown(str(Path(parent, name))) for name in hidden]
            folders[:] = sorted(
                name for name in folders if name not in hidden
            )  # os.walk enters what is left in it
            files += [Path(parent, name) for name in names if name not in hidden]
        return sorted(path for path in files if path.is_file())
    except OSError as error:
        raise cannot_read(error.filename or folder, error) from None


def _raise(error: OSError) -> None:
    raise error


def _total(groups: Iterable[Iterable[Source]]) -> int | None:
    """Return about how many bytes of text there are, or None if that cannot be told before reading."""
    sizes = [source.size for group in groups for source in group]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _joined(
    size: Size, source: Source, remarks: Remarks, watch: Callable[[int], object]
) -> Size | None:
    """Return the size of a text with one more source at its end, or None if it is left out, with a remark."""
    before, size = size.bytes, size.copy()
    source.keep(lambda done: watch(before + done))
    try:
        for _ in size.measuring(source.chunks()):
            watch(size.bytes)
    except NotTextError as error:
        if not source.in_folder:
            raise
        remarks[f"Left out, {error.what}"].append(shown(source.path))
        return None
    if source.with_nul:
        remarks["NUL characters, so perhaps UTF-16 or binary"].append(shown(source.path))
    if source.marked:
        remarks["Byte order mark dropped from the start"].append(shown(source.path))
    return size


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
    return few if len(names) <= 3 else f"{few} and {len(names) - 3:,} more ({len(names):,} in all)"
