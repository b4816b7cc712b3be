"""Files that are written whole or not at all, whatever happens in between.

One write is: a temporary neighbour, its bytes, fsync, rename over the old file, fsync of the
folder. A reader sees the old file or the new one. After a crash or a power failure one of them is
there, and perhaps a temporary to `sweep` away.
"""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from charrnn.errors import MachineError

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_whole(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Replace the file at `path` by `data` such that a crash at any moment leaves the old file or the new one.

    Args:
        path: A regular file, or nothing yet.
        data: The new content.
        keep: Where to move the file that stands at `path` instead of losing it.

    Raises:
        MachineError: The disk refuses, or something that is not a regular file stands there; all is
            left as it was.
    """
    try:
        for target in (path,) if keep is None else (path, keep):
            only_regular(target)
        _write_and_rename(path, [data], keep)
    except OSError as error:
        raise cannot("save", path, error, len(data)) from error


def write_stream(path: Path, pieces: Iterable[bytes]) -> None:
    """Replace the file at `path` by `pieces`, joined, as `write_whole` does.

    Raises:
        MachineError: See `write_whole`. What making the pieces raises goes through, and all is left
            as it was.
    """
    try:
        only_regular(path)
        _write_and_rename(path, pieces, None)
    except OSError as error:
        raise cannot("save", path, error) from error


def _write_and_rename(path: Path, pieces: Iterable[bytes], keep: Path | None) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    ours = True
    try:  # from here on, as a signal may end this at any moment
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            for piece in pieces:
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if keep is not None:
            os.replace(path, keep)  # noqa: PTH105 (the system calls, by name)
        os.replace(temporary, path)  # noqa: PTH105
        sync_folder(path.parent)
    except FileExistsError:  # somebody else's
        ours = False
        raise
    finally:
        with suppress(OSError):
            if ours:
                temporary.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data`, in as many calls as the system needs."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power failure, where the system lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows, or a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do this for folders
            raise
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in `folder`.

    Nobody may be writing there.
    """
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name) and not path.is_dir():
            with suppress(OSError):
                path.unlink()


def only_regular(path: Path) -> None:
    """Raise `MachineError` if something other than a regular file stands at `path`, a link to one included."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise MachineError(
            f"{shown(path)} is {kind_of(mode)}; charrnn replaces only regular files."
        )


def kind_of(mode: int) -> str:
    """Say what a file that is not regular is, from its `st_mode`."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def cannot(do: str, path: Path, error: OSError, needed: int | None = None) -> MachineError:
    """Return the error for an operation that the machine refused.

    `needed`: bytes that were to be written.
    """
    room = ""
    if needed is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            room = f" (needs {needed / 1e6:,.1f} MB, {shutil.disk_usage(path.parent).free / 1e6:,.1f} MB free)"
    return MachineError(f"Cannot {do} {shown(path)}: {error.strerror or error}{room}.")


def shown(path: Path) -> str:
    """Return `path` as one line that a terminal can show, whatever its name holds."""
    return str(path) if str(path).isprintable() else repr(str(path))
