"""The lock of a folder.

One process writes in it at a time, and the others are told which that is.
"""

import errno
import os
import platform
import time
from pathlib import Path

from charrnn.errors import MachineError
from charrnn.storage.atomic import display_path, io_error

try:
    import fcntl
except ImportError:  # Windows has no flock: that only one run writes to a folder is the user's care
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK}  # some network file systems; as on Windows


def take_lock(folder: Path) -> int:
    """Return a descriptor of the folder's lock file.

    It holds the lock until it is closed, by us or by our end.

    Raises:
        MachineError: Another process holds the lock, and here is which; or it cannot be taken.
    """
    path = folder / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _locked(descriptor, path):
                holder = _signature(descriptor)
                raise MachineError(
                    f"{display_path(folder)} is in use by {holder}.",
                    "Wait for it, or choose another name.",
                )
            _sign(descriptor)
        except (OSError, MachineError):
            os.close(descriptor)
            raise
        return descriptor
    except OSError as error:
        raise io_error("lock", folder, error) from error


def _locked(descriptor: int, path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    # another process may have set the run aside, and this file with it, after it was opened here
    return os.path.samestat(os.fstat(descriptor), path.stat())


def _sign(descriptor: int) -> None:
    """Write into the lock file who holds it, for the message that another process will show."""
    since = time.strftime("%Y-%m-%d %H:%M")
    os.ftruncate(descriptor, 0)
    os.write(
        descriptor, f"process {os.getpid()} on host {platform.node()} since {since}\n".encode()
    )


def _signature(descriptor: int) -> str:
    text = os.read(descriptor, 200).decode(errors="replace").strip()
    return text if text and text.isprintable() else "another process"
