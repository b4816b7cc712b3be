"""The lock of a folder, in which one process writes at a time."""

import errno
import os
import platform
import time
from pathlib import Path

from charrnn.errors import MachineError
from charrnn.storage.atomic import display_path, io_error

try:
    import fcntl
except ImportError:  # Windows has no flock; users have to make sure that one run writes at a time
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK}  # network file systems without locks


def take_lock(folder: Path) -> int:
    """Lock a folder and return a descriptor of its lock file.

    The lock is held until the descriptor is closed or the process ends.

    Raises:
        MachineError: Another process holds the lock, or it cannot be taken.
    """
    path = folder / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _try_lock(descriptor, path):
                holder = _read_holder(descriptor)
                raise MachineError(
                    f"{display_path(folder)} is in use by {holder}.",
                    "Wait for it, or choose another name.",
                )
            _write_holder(descriptor)
        except (OSError, MachineError):
            os.close(descriptor)
            raise
        return descriptor
    except OSError as error:
        raise io_error("lock", folder, error) from error


def holder_of(folder: Path) -> str:
    """Return who holds a folder's lock, as its error message says it; empty if nobody does."""
    if fcntl is None:
        return ""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _try_lock(descriptor: int, path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    # Another process may have archived the run, and with it this file, after it was opened here.
    return os.path.samestat(os.fstat(descriptor), path.stat())


def _write_holder(descriptor: int) -> None:
    """Write into the lock file who holds it, for another process's error message."""
    since = time.strftime("%Y-%m-%d %H:%M")
    os.ftruncate(descriptor, 0)
    os.write(
        descriptor, f"process {os.getpid()} on host {platform.node()} since {since}\n".encode()
    )


def _read_holder(descriptor: int) -> str:
    text = os.read(descriptor, 200).decode(errors="replace").strip()
    return text if text and text.isprintable() else "another process"
