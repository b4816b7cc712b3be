"""Arrays and metadata in one file, with a checksum of every byte.

    8 bytes    length of the header
    header     JSON: {"__metadata__": {"charrnn": ENVELOPE}, NAME: {dtype, shape, offsets}, ...}
    data       the tensors, one after another

This is the safetensors format, so that other programs can read the weights. By itself it does not
detect a flipped bit in the data, a zeroed region or a dtype swapped for another of the same size.
So charrnn adds an envelope, a JSON string:

    {"format": 1, "sha256": "64 digits", "metadata": {...}}

The checksum is that of the whole file, with its own 64 digits read as zeros: the length, every
character of the header (names, dtypes, shapes, format, metadata) and all of the data. The envelope
is a single string because safetensors writes several keys in varying order, and equal runs should
give equal files. Nothing is ever unpickled, and nothing in a file is used as a path.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from charrnn.errors import MachineError, ModelFileError, UsageError
from charrnn.storage.atomic import display_path, file_kind, io_error, write_atomic

FORMAT = 1
MAX_HEADER = 100_000_000  # bytes; the limit of safetensors
# Lists, tables and entries in a header; one takes 2 bytes of a file, but 100 bytes of memory.
MAX_PARTS = 1 << 18

Arrays = dict[str, NDArray[Any]]

NO_DIGEST = "0" * 64
ENVELOPE = re.compile(
    rb'"charrnn":"\{\\"format\\":([1-9]\d{0,8}),\\"sha256\\":\\"([0-9a-f]{64})\\"'
)
RUNS_CODE = "which can run code when it is opened"
FOREIGN = {  # how files of other formats begin, and what they are
    rb"PK[\x03\x05]": f"a zip archive, as PyTorch's .pt files are, {RUNS_CODE}",
    rb"\x80[\x02-\x05]": f"a Python pickle, {RUNS_CODE}",
    rb"c[\w.]+\n\w+\n|\([dl]p\d+\n|[\](})]q[\0-\x1f]": f"an old Python pickle, {RUNS_CODE}",
    rb"\x93NUMPY": "a NumPy array",
    rb"\x89HDF": "an HDF5 file",
    rb"\x1f\x8b": "compressed by gzip",
    rb"GGUF": "a GGUF file",
    rb"version https://git-lfs": "a Git LFS pointer, not the file (git lfs pull fetches it)",
    rb"[\t\n\r -~\x80-\xfd]+\Z": "text",
}


def to_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Encode `arrays` and `metadata`; equal arguments give equal bytes.

    Args:
        arrays: Arrays of any dtype that safetensors supports, by any names.
        metadata: JSON values; tuples are read back as lists, NaN and infinity raise `ValueError`.

    Raises:
        UsageError: The header exceeds what the format can hold.
    """
    facts = json.dumps(dict(metadata), sort_keys=True, allow_nan=False, separators=(",", ":"))
    envelope = f'{{"format":{FORMAT},"sha256":"{NO_DIGEST}","metadata":{facts}}}'
    # safetensors copies memory as it is, so transposed arrays have to be made contiguous first
    encoded = safetensors.save(
        {n: np.asarray(a, order="C") for n, a in arrays.items()}, {"charrnn": envelope}
    )
    if (size := _header_size(encoded)) > MAX_HEADER:
        raise UsageError(
            f"The settings and vocabulary take {size:,} bytes; a file can hold {MAX_HEADER:,}."
        )
    if (parts := _header_parts(encoded)) > MAX_PARTS:
        raise UsageError(
            f"The settings and vocabulary have {parts:,} parts; a file can hold {MAX_PARTS:,}."
        )
    start = _envelope(encoded).start(2)  # type: ignore[union-attr]
    return b"".join((encoded[:start], _checksum(encoded, start).encode(), encoded[start + 64 :]))


def from_bytes(data: bytes, name: str) -> tuple[Arrays, dict[str, Any]]:
    """Decode what `to_bytes` returned, after checking every byte.

    Memory: the arrays, in addition to `data`.

    Args:
        data: The file's content.
        name: The file's name in errors.

    Raises:
        ModelFileError: Another kind of file, a newer format, or damage.
    """
    _check(data, name)
    if _header_parts(data) > MAX_PARTS:
        raise ModelFileError(
            f"{name} has a header of more than {MAX_PARTS:,} parts: charrnn did not write it."
        )
    try:
        header = json.loads(data[8 : 8 + _header_size(data)])
        metadata = json.loads(header["__metadata__"]["charrnn"])["metadata"]
        arrays = safetensors.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{name} cannot be decoded, though its checksum is right: charrnn did not write it."
        ) from error
    if not isinstance(metadata, dict):
        raise ModelFileError(
            f"{name} has metadata of type {type(metadata).__name__} instead of a table."
        )
    return arrays, metadata


def digest(data: bytes) -> str:
    """Return the SHA-256 in a file's envelope, as 64 hexadecimal digits; empty if there is none."""
    found = _envelope(data)
    return found[2].decode() if found else ""


def _check(data: bytes, name: str) -> None:
    _refuse_foreign(data[:512], len(data), name)
    found = _envelope(data)
    if found is None:
        raise ModelFileError(
            f"{name} holds no charrnn metadata: another program wrote it, or it is damaged."
        )
    if int(found[1]) > FORMAT:
        raise ModelFileError(
            f"{name} is of format {int(found[1])}, made by a newer charrnn; this one reads format "
            f"{FORMAT}.",
            "Upgrade: pip install -U charrnn",
        )
    if _checksum(data, found.start(2)) != found[2].decode():
        raise ModelFileError(
            f"{name} is damaged: its checksum does not match.", "Restore it from a copy."
        )


def _checksum(data: bytes, start: int) -> str:
    """Return the SHA-256 of `data` with the 64 digits from `start` on read as zeros."""
    view = memoryview(data)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(NO_DIGEST.encode())
    sha256.update(view[start + 64 :])
    return sha256.hexdigest()


def _envelope(data: bytes) -> re.Match[bytes] | None:
    # Quotes inside strings are escaped, so a match can only be the key that `to_bytes` wrote.
    return ENVELOPE.search(data, 8, min(8 + _header_size(data), len(data)))


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _header_parts(data: bytes) -> int:
    """Return an upper estimate of the number of values in the header, without parsing it."""
    return sum(data.count(sign, 8, 8 + _header_size(data)) for sign in (b"[", b"{", b","))


def _refuse_foreign(head: bytes, size: int, name: str) -> None:
    """Raise `ModelFileError` unless a file looks like safetensors, by its first bytes and size."""
    if head[8:9] == b"{" and _header_size(head) <= min(size - 8, MAX_HEADER):
        return
    if not head:
        raise ModelFileError(f"{name} is empty.")
    kind = next((kind for start, kind in FOREIGN.items() if re.match(start, head)), "")
    what = f"is {kind}" if kind else "is not a safetensors file, or is damaged"
    raise ModelFileError(
        f"{name} {what}.", "charrnn reads only .safetensors files that charrnn has written."
    )


def save(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write a file atomically; errors: see `to_bytes` and `write_atomic`."""
    write_atomic(path, to_bytes(arrays, metadata))


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read a file that `save` wrote; errors: see `read_file` and `from_bytes`."""
    return from_bytes(read_file(path), display_path(path))


def read_file(path: Path) -> bytes:
    """Read a safetensors file; of any other file, only the beginning is read.

    Raises:
        ModelFileError: The file does not exist or is not a safetensors file.
        MachineError: The file cannot be read, or does not fit into memory.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # checked first: opening waits at a pipe, may act on a device
            raise ModelFileError(f"{display_path(path)} is {file_kind(mode)}, not a model file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _refuse_foreign(file.read(512), size, display_path(path))
            file.seek(0)
            return file.read(size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    except OSError as error:
        raise io_error("read", path, error) from error
    except MemoryError as error:
        raise MachineError(f"{display_path(path)} does not fit into memory.") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file that `save` wrote, without reading or checking its data.

    Raises:
        ModelFileError: The file is of another kind, or its header is damaged.
        MachineError: The file cannot be read.
    """
    name = display_path(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            _refuse_foreign(head, os.fstat(file.fileno()).st_size, name)
            file.seek(8)
            header = json.loads(file.read(_header_size(head)))
        metadata = json.loads(header["__metadata__"]["charrnn"])["metadata"]
    except OSError as error:
        raise io_error("read", path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{name} has a header that cannot be read: it is damaged.") from error
    if not isinstance(metadata, dict):
        raise ModelFileError(f"{name} has no table of metadata: it is damaged.")
    return metadata


def _missing(path: Path) -> ModelFileError:
    names: list[str] = []
    with suppress(OSError):
        names = [other.name for other in path.parent.iterdir()]
    message = f"Cannot read {display_path(path)}: no such file or folder."
    return ModelFileError(message, meant=(path.name, names))
