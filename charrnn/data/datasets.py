"""Sample texts: two that come with Python, and one that is a common benchmark."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from charrnn.data.python_prose import python_prose
from charrnn.errors import MachineError, UsageError
from charrnn.storage.atomic import io_error, write_atomic

DATASETS = {
    "python-prose": "Sentences about Python, from the documentation that comes with it: about "
    "500,000 characters; no network needed.",
    "python-docs": "The Python language reference, which comes with Python: 465,000 characters; "
    "no network needed.",
    "shakespeare": "Tiny Shakespeare: 1,115,394 characters of the plays; downloaded once and "
    "verified.",
}
SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_BYTES = 1_115_394
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TIMEOUT = 30.0  # seconds without an answer

Opener = Callable[[str, float], AbstractContextManager[BinaryIO]]


def open_url(url: str, timeout: float) -> AbstractContextManager[BinaryIO]:
    """Open `url` for reading; wait at most `timeout` seconds for each answer."""
    from urllib.request import urlopen  # slow to import and seldom needed

    return urlopen(url, timeout=timeout)  # type: ignore[no-any-return]


def write_dataset(name: str, folder: Path, *, opener: Opener = open_url) -> Path:
    """Write a dataset to `folder`/`name`.txt, unless it has been downloaded before.

    Args:
        name: A key of `DATASETS`.
        folder: Created if it does not exist.
        opener: Opens a URL, given the URL and a time-out in seconds.

    Returns:
        The path of the file.

    Raises:
        UsageError: There is no such dataset.
        MachineError: The file cannot be downloaded, has the wrong checksum, or cannot be written.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise UsageError(
            f"There is no dataset {name!r}; there are {known}.", meant=(name, DATASETS)
        )
    path = folder / f"{name}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if name == "shakespeare" and path.exists():
            _verify(path.read_bytes(), str(path), f"Move {path} away and run the command again.")
            return path
    except OSError as error:
        raise io_error("use", path, error) from None
    local = {"python-docs": python_docs, "python-prose": python_prose}
    write_atomic(path, local[name]().encode() if name in local else _download(path, opener))
    return path


def python_docs() -> str:
    """Return the language reference from Python's built-in help, its topics sorted by name."""
    from pydoc_data.topics import topics  # half a megabyte, so imported only here

    return "".join(topics[name] for name in sorted(topics))


def _download(path: Path, opener: Opener) -> bytes:
    hint = f"Download it by other means, and save it as {path}."
    try:
        with opener(SHAKESPEARE_URL, TIMEOUT) as response:
            data = response.read(SHAKESPEARE_BYTES + 1)  # enough to notice that a file is longer
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise MachineError(f"Cannot download {SHAKESPEARE_URL}: {reason}.", hint) from None
    _verify(data, SHAKESPEARE_URL, hint)
    return data


def _verify(data: bytes, source: str, hint: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHAKESPEARE_SHA256:
        is_longer = len(data) > SHAKESPEARE_BYTES
        size = f"more than {SHAKESPEARE_BYTES:,}" if is_longer else f"{len(data):,}"
        raise MachineError(
            f"{source} is not tiny Shakespeare: {size} bytes with SHA-256 {found}, "
            f"not {SHAKESPEARE_SHA256}.",
            hint,
        )
