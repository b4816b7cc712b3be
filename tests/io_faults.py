"""Look at, or break, the system calls by which files are written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "close", "replace")

Act = Callable[[str], None]


@contextmanager
def before_each_call(act: Act) -> Iterator[None]:
    """Run `act(name)` before each system call of `CALLS`; what it raises, the call raises."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _after(act, name, getattr(os, name)))
        yield


def _after(act: Act, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        act(name)
        return real(*args, **kwargs)

    return call


def failing_at(number: int, error: int) -> Act:
    """Fail the `number`-th call, counted from 1, unless it is a close.

    Its descriptor could never be freed.
    """
    calls = iter(range(1, 1000))

    def act(name: str) -> None:
        if next(calls) == number and name != "close":
            raise OSError(error, os.strerror(error))

    return act


def names(folder: Path) -> list[str]:
    """Return what is in `folder`, sorted."""
    return sorted(entry.name for entry in folder.iterdir())
