"""Files that are written atomically: completely or not at all.

A write creates a temporary file in the same folder, fills it, calls fsync, renames it over the old
file, and calls fsync on the folder. Readers see either the old file or the new one. After a crash
or a power failure, one of the two is there, and perhaps a temporary file for `remove_temporaries`.
"""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charrnn.errors import MachineError

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_atomic(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Replace a file such that a crash at any moment leaves the old one or the new one.

    Args:
        path: The file; it need not exist.
        data: The new content.
        keep: Where to move the old file, if it is to be kept.

    Raises:
        MachineError: The file cannot be written, or `path` is not a regular file. Nothing is
            changed then.
    """
    try:
        for target in (path,) if keep is None else (path, keep):
            check_regular(target)
        with _replacement(path, keep) as write:
            write(data)
    except OSError as error:
        raise io_error("save", path, error, len(data)) from error


@contextmanager
def atomic_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes pieces of a file, which replaces `path` when the block ends.

    If the block raises an error, nothing is changed.

    Raises:
        MachineError: See `write_atomic`.
    """
    try:
        check_regular(path)
        with _replacement(path, None) as write:
            yield write
    except OSError as error:
        raise io_error("save", path, error) from error


@contextmanager
def _replacement(path: Path, keep: Path | None) -> Iterator[Callable[[bytes], None]]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    ours = True
    try:  # before the file is created, as a signal may interrupt this at any moment
        try:
            descriptor = os.open(temporary, WRITE_FLAGS, 0o666)
        except FileExistsError:  # another process's file
            ours = False
            raise
        try:
            yield lambda data: write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if keep is not None:
            os.replace(path, keep)  # noqa: PTH105 (the system calls, by name)
        os.replace(temporary, path)  # noqa: PTH105
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            if ours:
                temporary.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, in as many system calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power failure, where the system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows, or a folder that is writable but not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system does not support it for folders
            raise
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of killed processes; none may be writing in `folder`."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name) and not path.is_dir():
            with suppress(OSError):
                path.unlink()


def check_regular(path: Path) -> None:
    """Raise `MachineError` if `path` exists and is not a regular file; a link is not one."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = file_kind(mode)
        raise MachineError(f"{display_path(path)} is {kind}; charrnn replaces only regular files.")


def file_kind(mode: int) -> str:
    """Return what a file that is not regular is, in words, from its `st_mode`."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def io_error(do: str, path: Path, error: OSError, needed: int | None = None) -> MachineError:
    """Return the error for an operation that the system refused.

    Args:
        do: The operation, a verb that follows "Cannot".
        path: The file.
        error: The system's error.
        needed: Number of bytes to be written, for an error about a full disk.
    """
    room = ""
    if needed is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            room = f" (needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB free)"
    return MachineError(f"Cannot {do} {display_path(path)}: {error.strerror or error}{room}.")


def display_path(path: Path) -> str:
    """Return `path` as one printable line, whatever characters its name has."""
    return str(path) if str(path).isprintable() else repr(str(path))
