"""Ids of a text of any size, encoded piece by piece into a file that is then memory-mapped.

A run keeps this file, so that the text need not be encoded again when the run is continued:

    ids of the training part, starts of its records, ids of the held-out part, starts of its records
    a line of JSON: a key of everything that the ids depend on, the sizes, a checksum

A file that does not match its last line is written again.
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

from charrnn.data.encoding import Encoded, EncodedSize, EncodedSplit, greatest, write_ids
from charrnn.data.split import TextPart, TextSplit
from charrnn.errors import MachineError
from charrnn.storage.atomic import atomic_writer, check_regular, io_error, write_all
from charrnn.tokenizers.base import Tokenizer

VERSION = 3
CHUNK = 1 << 20  # bytes
MAX_TRAILER = 2000  # bytes; it is about 400
START = np.dtype(np.int64)  # type of the position of a record's first id
LABELS = ("Encoding the training text", "Encoding the validation text")  # for the progress

Write = Callable[[bytes], object]


def encode_cached(tokenizer: Tokenizer, split: TextSplit, path: Path) -> EncodedSplit:
    """Return a text as ids from a cache file, which is written if it is missing or does not match.

    Args:
        tokenizer: The tokenizer.
        split: The text.
        path: A regular file or a new one, which no other process may be writing.

    Raises:
        TextError: The text can no longer be read, or has changed; or a part has no record.
        MachineError: The file cannot be written.
    """
    made_from = [VERSION, split.fingerprint, np.little_endian, tokenizer.to_dict()]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    check_regular(path)
    dtype = tokenizer.dtype
    found = _load_if_valid(path, key, dtype)
    if found is None or not _is_sound(found, tokenizer, split):
        found = _write_cache(path, key, tokenizer, split)
    train, valid = found
    return EncodedSplit(split.name, split.sha256, split.format, tokenizer, train, valid)


def encode_uncached(tokenizer: Tokenizer, split: TextSplit) -> EncodedSplit:
    """Return a text as ids from temporary files; see `encode_to_tempfile`."""
    parts = zip((split.train, split.valid), LABELS, strict=True)
    train, valid = (encode_to_tempfile(tokenizer, part, label) for part, label in parts)
    return EncodedSplit(split.name, split.sha256, split.format, tokenizer, train, valid)


def encode_to_tempfile(
    tokenizer: Tokenizer, part: TextPart, label: str = "Encoding the text"
) -> Encoded:
    """Return a part of a text as ids from an unnamed temporary file.

    Args:
        tokenizer: The tokenizer.
        part: The text.
        label: What progress reports call this.

    Raises:
        TextError: The text can no longer be read, or has changed; or it has no record.
        MachineError: The file cannot be written.
    """
    try:
        with tempfile.TemporaryFile() as file:
            size = _write_part(tokenizer, part, label, lambda data: write_all(file.fileno(), data))
            (encoded,) = _map_ids(file, tokenizer.dtype, [size])
            return encoded
    except OSError as error:
        folder, reason = tempfile.tempdir or "a temporary folder", error.strerror or error
        raise MachineError(
            f"Cannot keep the encoded text in {folder}: {reason}.",
            "Set TMPDIR to a folder with more room.",
        ) from None


def _write_part(tokenizer: Tokenizer, part: TextPart, label: str, write: Write) -> EncodedSize:
    size, starts = write_ids(tokenizer, part.units(label), part.format, write)
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

        parts = zip((split.train, split.valid), LABELS, strict=True)
        sizes = [_write_part(tokenizer, part, label, write_checked) for part, label in parts]
        write(b"\n" + json.dumps(_trailer(key, sizes, checksum)).encode())
    try:
        with path.open("rb") as file:
            return _map_ids(file, tokenizer.dtype, sizes)
    except OSError as error:
        raise io_error("read", path, error) from error


def _trailer(key: str, sizes: Iterable[EncodedSize], checksum: int) -> dict[str, Any]:
    """Return the content of the last line; its checksum covers the whole file."""
    facts = {"key": key, "parts": [asdict(size) for size in sizes]}
    return facts | {"crc32": zlib.crc32(json.dumps(facts).encode(), checksum)}


def encoded_parts(path: Path, tokenizer: Tokenizer) -> list[Encoded] | None:
    """Return the training part and the held-out part of a run's text, of whatever text it is.

    Args:
        path: The run's cache file.
        tokenizer: The tokenizer of the run's model.

    Returns:
        The two parts, or None if the file is missing or damaged.
    """
    found = _load_if_valid(path, None, tokenizer.dtype)
    return found if found is not None and len(found) == 2 else None


def _load_if_valid(path: Path, key: str | None, dtype: np.dtype[Any]) -> list[Encoded] | None:
    """Return the ids of a file, or None unless its last line has this key and matches the rest."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - MAX_TRAILER))
            line = file.read().rpartition(b"\n")[2]
            trailer = json.loads(line)
            sizes = [_checked_size(EncodedSize(**part)) for part in trailer["parts"]]
            room = sum(_bytes_of(part, dtype) for part in sizes)
            fits = size == room + 1 + len(line)
            wanted = trailer["key"] if key is None else key
            if fits and trailer == _trailer(wanted, sizes, _checksum(file, room)):
                return _map_ids(file, dtype, sizes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return None


def _checked_size(size: EncodedSize) -> EncodedSize:
    """Return a size that was read, after checking the types and ranges of its parts.

    Raises:
        ValueError, TypeError: It cannot be the size of a text.
    """
    counts = (size.ids, size.characters, size.bytes, size.records)
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError("The counts must be whole numbers, and not negative.")
    if not size.characters <= size.bytes <= 4 * size.characters or size.records > size.ids:
        raise ValueError("The counts contradict each other.")
    if len(bytes.fromhex(size.sha256)) != hashlib.sha256().digest_size:
        raise ValueError("The checksum must be of 64 digits.")
    return size


def _is_sound(found: list[Encoded], tokenizer: Tokenizer, split: TextSplit) -> bool:
    """Return whether the ids of a file can be those of a text, whatever its checksum is."""
    parts = (split.train, split.valid)
    return len(found) == 2 and all(
        _can_be(one, part, tokenizer) for one, part in zip(found, parts, strict=True)
    )


def _can_be(one: Encoded, part: TextPart, tokenizer: Tokenizer) -> bool:
    if greatest(one.ids) >= tokenizer.size:
        return False
    if part.format.separator is None:
        return one.starts is None and one.characters == part.characters
    if one.starts is None:
        return False
    lengths = np.diff(one.starts, append=len(one.ids))
    return bool(one.starts[0] == 0 and lengths.min() > 0)


def _bytes_of(size: EncodedSize, dtype: np.dtype[Any]) -> int:
    return size.ids * dtype.itemsize + size.records * START.itemsize


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
        starts = np.frombuffer(file.read(size.records * START.itemsize), START)
        offset += starts.nbytes
        given = starts if size.records else None
        encoded.append(Encoded(ids, size.characters, size.bytes, given, size.sha256))
    return encoded
