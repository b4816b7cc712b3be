"""See each system call on charrnn's files before it is made, and break it or die in it.

The functions of `os` and `io` by which it makes them are wrapped, and calls on files elsewhere are
let through.
"""

import fcntl
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHANGING = ("open", "write", "fsync", "close", "replace", "rename", "unlink", "mkdir", "ftruncate")
ASKING = ("stat", "lstat", "fstat", "listdir", "scandir", "read", "lseek")
ON_FILES = ("read", "readinto", "truncate", "seek")  # methods of what io.open returns


@dataclass(frozen=True)
class Call:
    """A system call that is about to be made.

    Attributes:
        name: Of the function: "write"; "io.open" and "io.read" for those of file objects.
        path: The file it is about.
        args: Its arguments.
        real: The function itself.
    """

    name: str
    path: Path
    args: tuple[Any, ...]
    real: Callable[..., Any]


Act = Callable[[Call], None]


@dataclass
class Watch:
    """Knows which open descriptors belong to files under some folders."""

    folders: tuple[Path, ...]
    act: Act
    open_files: dict[int, Path] = field(default_factory=dict)

    def path_of(self, subject: Any) -> Path | None:
        """Return the file that a call is about if it is under the folders."""
        if isinstance(subject, int):
            return self.open_files.get(subject)
        try:
            # Path.resolve would make calls itself
            path = Path(os.path.abspath(os.fspath(subject)))  # noqa: PTH100
        except (TypeError, ValueError):
            return None
        return path if any(path.is_relative_to(folder) for folder in self.folders) else None

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = self.path_of(args[0]) if args else None
            if path is None or kwargs.get("dir_fd") is not None:
                return real(*args, **kwargs)
            self.act(Call(name, path, args, real))
            result = real(*args, **kwargs)
            if name in ("open", "io.open"):
                self.open_files[result if name == "open" else result.fileno()] = path
                return result if name == "open" else File(result, path, self.act)
            if name == "close":
                del self.open_files[args[0]]
            return result

        return call


class File:
    """An open file whose calls are seen."""

    def __init__(self, file: Any, path: Path, act: Act) -> None:
        self._file, self._path, self._act = file, path, act

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._file, name)
        if name not in ON_FILES:
            return real

        def call(*args: Any) -> Any:
            self._act(Call(f"io.{name}", self._path, args, real))
            return real(*args)

        return call


@contextmanager
def watched(folders: tuple[Path, ...], act: Act) -> Iterator[None]:
    """Run `act(call)` before each call on a file under `folders`.

    What it raises, the call raises.
    """
    watch = Watch(folders, act)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*CHANGING, *ASKING):
            patch.setattr(os, name, watch.wrap(name, getattr(os, name)))
        patch.setattr(io, "open", watch.wrap("io.open", io.open))
        patch.setattr(fcntl, "flock", watch.wrap("flock", fcntl.flock))
        yield


def changes(call: Call) -> bool:
    """Return whether a call changes what is on the disk, or makes a change last."""
    if call.name == "open":
        return bool(call.args[1] & os.O_CREAT)
    if call.name == "io.open":
        return call.args[1][:1] in "wax"
    return call.name in CHANGING or call.name == "io.truncate"


def killing_at(number: int) -> Act:
    """Die by SIGKILL before the `number`-th call that changes something.

    Half of what it writes is written.
    """
    left = number

    def act(call: Call) -> None:
        nonlocal left
        left -= changes(call)
        if left == 0 and changes(call):
            if call.name == "write":
                call.real(call.args[0], call.args[1][: len(call.args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    return act


@dataclass
class Failing:
    """Fail the calls from the `first`-th on, `times` of them, with the error `error`.

    Remember the first of them.

    A close is let through: its descriptor could never be freed, and what it was to say fsync has
    said before.
    """

    first: int
    times: int
    error: int
    seen: int = 0

    def __call__(self, call: Call) -> None:
        if call.name == "close":
            return
        self.seen += 1
        if self.first <= self.seen < self.first + self.times:
            if self.seen == self.first:
                os.write(2, f"FAILED {call.name} {call.path.name}\n".encode())
            raise OSError(self.error, os.strerror(self.error), str(call.path))
