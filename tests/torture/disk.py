"""A disk that loses its power.

What was fsynced is there, and of everything else any part, or nothing.

A run's calls are recorded in their order. `Recording.crashes` then tells what the folder may hold
if the power fails between two of them:

    names    created, replaced and removed ones last once their folder was fsynced; of those since
    then, the first few
             or any others
    bytes    of a file last once the file was fsynced; those since then are lost, half written,
    zeros, or there
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from calls import Call

Names = dict[str, int]
Folder = dict[str, bytes]

SUBSETS_OF = 4  # so many names since the last fsync of the folder are lost in every combination


@dataclass
class Inode:
    """A file's bytes, those that last and those that are there now."""

    lasting: bytes = b""
    now: bytes = b""

    def after(self, how: str) -> bytes:
        """Return what a crash leaves if the rest is "lost", "half", "zeros" or "there"."""
        if how == "there" or self.now == self.lasting:
            return self.now
        if how == "zeros":
            return self.lasting + bytes(max(0, len(self.now) - len(self.lasting)))
        return (
            self.lasting if how == "lost" else self.now[: (len(self.lasting) + len(self.now)) // 2]
        )


@dataclass(frozen=True)
class Crash:
    """What may be there after a power failure.

    Attributes:
        files: The folder's files.
        state: Step of the newest training state that had been acknowledged as saved; -1 if there
            was none.
        model: The same for the best model.
        in_order: No name is there that is younger than one that is lost.
    """

    files: Folder
    state: int
    model: int
    in_order: bool

    def digest(self) -> str:
        """Return the same digest for the same files, temporary ones aside."""
        kept = sorted(
            (name, data) for name, data in self.files.items() if not name.endswith(".tmp")
        )
        return hashlib.sha256(repr(kept).encode()).hexdigest()

    def write_to(self, folder: Path) -> None:
        """Put the files into a new folder."""
        folder.mkdir()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


@dataclass
class Recording:
    """Plays the disk below one folder, call by call; `record` is an `Act` for `calls.watched`.

    A call is recorded before it is made, which is right: what a failure of the power leaves is
    decided before each of them, and one more time at the end.
    """

    folder: Path
    inodes: list[Inode] = field(default_factory=list)
    lasting: Names = field(default_factory=dict)
    pending: list[dict[str, int | None]] = field(default_factory=list)
    state: int = -1
    model: int = -1
    moments: list["Moment"] = field(default_factory=list)

    def begin_with(self, files: Folder) -> None:
        """Begin with files that are there and last."""
        for name, data in files.items():
            self.lasting[name] = self._new(data)

    def record(self, call: Call) -> None:
        if call.path.parent != self.folder and call.path != self.folder:
            return
        step = getattr(self, f"_{call.name.replace('.', '_')}", None)
        if step is not None and call.path.name != ".lock":
            self.moments.append(self.moment())
            step(call)

    def moment(self) -> "Moment":
        """Return the disk as it is now."""
        inodes = [Inode(inode.lasting, inode.now) for inode in self.inodes]
        return Moment(
            inodes,
            dict(self.lasting),
            [dict(change) for change in self.pending],
            self.state,
            self.model,
        )

    def names(self) -> Names:
        """Return the names as a running program sees them."""
        return applied(self.lasting, self.pending)

    def _new(self, data: bytes = b"") -> int:
        self.inodes.append(Inode(data, data))
        return len(self.inodes) - 1

    def _open(self, call: Call) -> None:
        if call.args[1] & os.O_CREAT:
            self._appear(call.path)

    def _io_open(self, call: Call) -> None:
        if call.args[1][:1] in "wa":
            self._appear(call.path)

    def _appear(self, path: Path) -> None:
        if (
            path != self.folder and path.name not in self.names()
        ):  # a file without a name is opened as its folder
            self.pending.append({path.name: self._new()})

    def _inode(self, call: Call) -> Inode:
        return self.inodes[self.names()[call.path.name]]

    def _write(self, call: Call) -> None:
        self._inode(call).now += bytes(call.args[1])

    def _io_truncate(self, call: Call) -> None:
        self._inode(call).now = self._inode(call).now[: call.args[0]]

    def _fsync(self, call: Call) -> None:
        if call.path == self.folder:
            self.lasting, self.pending = self.names(), []
        else:
            self._inode(call).lasting = self._inode(call).now

    def _replace(self, call: Call) -> None:
        source, target = (Path(arg).name for arg in call.args[:2])
        self.pending.append({target: self.names()[source], source: None})

    def _unlink(self, call: Call) -> None:
        if call.path.name in self.names():
            self.pending.append({call.path.name: None})


@dataclass(frozen=True)
class Moment:
    """A disk between two calls."""

    inodes: list[Inode]
    lasting: Names
    pending: list[dict[str, int | None]]
    state: int
    model: int

    def crashes(self) -> Iterator[Crash]:
        """Yield everything that may be there if the power fails now."""
        for kept, in_order in kept_of(len(self.pending)):
            names = applied(self.lasting, [self.pending[index] for index in kept])
            for how in ("lost", "half", "zeros", "there"):
                files = {name: self.inodes[inode].after(how) for name, inode in names.items()}
                yield Crash(files, self.state, self.model, in_order)


def kept_of(count: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield which of `count` changes are kept, and whether they are the first ones."""
    first = [tuple(range(length)) for length in range(count + 1)]
    yield from ((kept, True) for kept in first)
    if count <= SUBSETS_OF:
        others = (kept for length in range(1, count) for kept in combinations(range(count), length))
        yield from ((kept, False) for kept in others if kept not in first)


def applied(names: Names, changes: list[dict[str, int | None]]) -> Names:
    """Return the names after some changes; None stands for a name that goes."""
    merged: dict[str, int | None] = dict(names)
    for change in changes:
        merged |= change
    return {name: inode for name, inode in merged.items() if inode is not None}


def read_folder(folder: Path) -> Folder:
    """Return the files of a folder that is there."""
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name != ".lock"}
