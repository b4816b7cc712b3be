"""Ids of a text of any size: encoded in a stream into a file, and read from there by a memory map.

    ids of the training part, where its records begin, ids of the held-out part, where its records ...
    a line of JSON: what all that was made from, its sizes, a checksum

is the file that a run keeps, so that a run that is continued need not encode its text again. A file
that does not fit its last line is not believed but made anew.
"""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.data.encoding import Encoded, EncodedSize, EncodedSplit, write_ids
from charrnn.data.split import TextPart, TextSplit
from charrnn.errors import MachineError
from charrnn.storage.atomic import atomic_writer, check_regular, io_error, write_all
from charrnn.tokenizers.base import Tokenizer

VERSION = 3
CHUNK = 1 << 20  # bytes
MAX_TRAILER = 2000  # bytes; it is about 400
PLACE = np.dtype(np.int64)  # of a record's first id
PURPOSES = ("Encoding the training text", "Encoding the validation text")

Write = Callable[[bytes], object]


def encode_cached(tokenizer: Tokenizer, split: TextSplit, path: Path) -> EncodedSplit:
    """Return a text as ids from the file at `path`.

    It is written, whole, if it is not there or is not what the parts are.

    Args:
        tokenizer: Makes the ids.
        split: The text.
        path: A regular file, or nothing yet. Nobody else may be writing there.

    Raises:
        TextError: The text cannot be read any more, or has changed; or a part has no record.
        MachineError: The file cannot be written.
    """
    made_from = [VERSION, split.fingerprint, np.little_endian, tokenizer.to_dict()]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    check_regular(path)
    dtype = tokenizer.dtype
    train, valid = _load_if_valid(path, key, dtype) or _write_cache(path, key, tokenizer, split)
    return EncodedSplit(split.name, split.sha256, split.format, tokenizer, train, valid)


def encode_uncached(tokenizer: Tokenizer, split: TextSplit) -> EncodedSplit:
    """Return a text as ids from temporary files; see `encode_to_tempfile`."""
    parts = zip((split.train, split.valid), PURPOSES, strict=True)
    train, valid = (encode_to_tempfile(tokenizer, part, what) for part, what in parts)
    return EncodedSplit(split.name, split.sha256, split.format, tokenizer, train, valid)


def encode_to_tempfile(
    tokenizer: Tokenizer, part: TextPart, what: str = "Encoding the text"
) -> Encoded:
    """Return a part of a text as ids from a temporary file without a name.

    It ends with the process.

    Args:
        tokenizer: Makes the ids.
        part: The text.
        what: Is told to who follows the reading.

    Raises:
        TextError: The text cannot be read any more, or has changed; or it has no record.
        MachineError: The file cannot be written.
    """
    try:
        with tempfile.TemporaryFile() as file:
            size = _write_part(tokenizer, part, what, lambda data: write_all(file.fileno(), data))
            (encoded,) = _map_ids(file, tokenizer.dtype, [size])
            return encoded
    except OSError as error:
        folder, reason = tempfile.gettempdir(), error.strerror or error
        raise MachineError(
            f"Cannot keep the encoded text in {folder}: {reason}.",
            "Set TMPDIR to a folder with more room.",
        ) from None


def _write_part(tokenizer: Tokenizer, part: TextPart, what: str, write: Write) -> EncodedSize:
    size, starts = write_ids(tokenizer, part.units(what), part.format, write)
    if starts is not None:
        write(starts.tobytes())
    return size


def _write_cache(path: Path, key: str, tokenizer: Tokenizer, split: TextSplit) -> list[Encoded]:
    checksum = 0
    with atomic_writer(path) as write:

        def write_checked(data: bytes) -> None:
            nonlocal checksum
            checksum = zlib.crc32(data, checksum)
            write(data)

        parts = zip((split.train, split.valid), PURPOSES, strict=True)
        sizes = [_write_part(tokenizer, part, what, write_checked) for part, what in parts]
        write(b"\n" + json.dumps(_trailer(key, sizes, checksum)).encode())
    try:
        with path.open("rb") as file:
            return _map_ids(file, tokenizer.dtype, sizes)
    except OSError as error:
        raise io_error("read", path, error) from error


def _trailer(key: str, sizes: Iterable[EncodedSize], checksum: int) -> dict[str, Any]:
    """Return the last line; the checksum is of everything before it, and covers it too."""
    facts = {"key": key, "parts": [asdict(size) for size in sizes]}
    return facts | {"crc32": zlib.crc32(json.dumps(facts).encode(), checksum)}


def _load_if_valid(path: Path, key: str, dtype: np.dtype[Any]) -> list[Encoded] | None:
    """Return the ids that a file holds if its last line fits them and is the one looked for."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - MAX_TRAILER))
            line = file.read().rpartition(b"\n")[2]
            trailer = json.loads(line)
            sizes = [EncodedSize(**part) for part in trailer["parts"]]
            room = sum(_bytes_of(part, dtype) for part in sizes)
            fits = size == room + 1 + len(line)
            if fits and trailer == _trailer(key, sizes, _checksum(file, room)):
                return _map_ids(file, dtype, sizes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return None


def _bytes_of(size: EncodedSize, dtype: np.dtype[Any]) -> int:
    return size.ids * dtype.itemsize + size.records * PLACE.itemsize


def _checksum(file: BinaryIO, size: int) -> int:
    checksum = 0
    file.seek(0)
    for begin in range(0, size, CHUNK):
        checksum = zlib.crc32(file.read(min(CHUNK, size - begin)), checksum)
    return checksum


def _map_ids(file: BinaryIO, dtype: np.dtype[Any], sizes: Iterable[EncodedSize]) -> list[Encoded]:
    encoded, offset = [], 0
    for size in sizes:
        ids = np.memmap(file, dtype, "r", offset, (size.ids,))
        offset += ids.nbytes
        file.seek(offset)
        starts = np.frombuffer(file.read(size.records * PLACE.itemsize), PLACE)
        offset += starts.nbytes
        places = starts if size.records else None
        encoded.append(Encoded(ids, size.characters, size.bytes, places, size.sha256))
    return encoded
