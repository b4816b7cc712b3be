"""Ids of a text of any size: encoded in a stream into a file, and read from there through a memory map.

The file that a run keeps holds the ids of the training part, those of the validation part, and a line of its own: what
they were made from, their lengths, a checksum. A file that does not fit its last line is not believed but made anew.
"""

import hashlib
import json
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.corpus import Encoded
from charrnn.errors import MachineError
from charrnn.files import cannot, only_regular, write_all, write_stream
from charrnn.tokenizers.base import Tokenizer, id_dtype, to_bytes

VERSION = 1
CHUNK = 1 << 20  # bytes
LONGEST_RECORD = 1000  # bytes; it is about 200

Parts = Sequence[Iterable[str]]  # texts in chunks, to be read in this order


@dataclass
class Lengths:
    """How long a part of a text is, as far as it was encoded."""

    ids: int = 0
    characters: int = 0
    bytes: int = 0


def encode_kept(tokenizer: Tokenizer, parts: Callable[[], Parts], path: Path, text: str) -> list[Encoded]:
    """Return the parts of a text as ids from the file at `path`; write it, whole, if it is not what they are.

    Args:
        tokenizer: Makes the ids.
        parts: Opens the text, if it has to be encoded.
        path: A regular file, or nothing yet. Nobody else may be writing there.
        text: What the parts are a function of: the text's SHA-256, and where it is divided.

    Raises:
        TextError: The text cannot be read any more, or has changed.
        MachineError: The file cannot be written.
    """
    made_from = json.dumps([VERSION, text, np.little_endian, tokenizer.to_dict()])
    key, dtype = hashlib.sha256(made_from.encode()).hexdigest(), id_dtype(tokenizer.size)
    only_regular(path)
    found = _believed(path, key, dtype)
    if found is not None:
        return found
    opened = parts()
    lengths = [Lengths() for _ in opened]
    write_stream(path, _whole_file(tokenizer, opened, lengths, key))
    try:
        with path.open("rb") as file:
            return _maps(file, dtype, lengths)
    except OSError as error:
        raise cannot("read", path, error) from error


def encode_once(tokenizer: Tokenizer, parts: Parts) -> list[Encoded]:
    """Return the parts of a text as ids from a temporary file without a name, which ends with the process.

    Raises:
        TextError: The text cannot be read any more, or has changed.
        MachineError: The file cannot be written.
    """
    lengths = [Lengths() for _ in parts]
    try:
        with tempfile.TemporaryFile() as file:
            for ids in _pieces(tokenizer, parts, lengths):
                write_all(file.fileno(), ids)
            return _maps(file, id_dtype(tokenizer.size), lengths)
    except OSError as error:
        what = f"Cannot keep the encoded text in {tempfile.gettempdir()}: {error.strerror or error}."
        raise MachineError(what, "Set TMPDIR to a folder with more room.") from None


def take(ids: NDArray[np.integer[Any]], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `ids[places]`; of a mapped file, no more stays in this process's memory than was there before."""
    taken = ids[places].astype(np.int64)
    _release(ids)
    return taken


def occurrences(ids: NDArray[np.integer[Any]], symbol: int) -> int:
    """Return how often `symbol` is among `ids`."""
    count = 0
    for begin in range(0, len(ids), CHUNK):
        count += int(np.count_nonzero(ids[begin : begin + CHUNK] == symbol))
        _release(ids)
    return count


def _release(ids: NDArray[np.integer[Any]]) -> None:
    """Give a mapped file's pages back; the system keeps them at hand as long as it has room."""
    if isinstance(ids.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        ids.base.madvise(mmap.MADV_DONTNEED)


def _whole_file(tokenizer: Tokenizer, parts: Parts, lengths: Sequence[Lengths], key: str) -> Iterator[bytes]:
    checksum = 0
    for ids in _pieces(tokenizer, parts, lengths):
        checksum = zlib.crc32(ids, checksum)
        yield ids
    yield b"\n" + json.dumps(_record(key, lengths, checksum)).encode()


def _record(key: str, lengths: Sequence[Lengths], checksum: int) -> dict[str, Any]:
    """Return what is said about the ids; the checksum covers it, too."""
    facts = {"key": key, "parts": [list(astuple(part)) for part in lengths]}
    return facts | {"crc32": zlib.crc32(json.dumps(facts).encode(), checksum)}


def _pieces(tokenizer: Tokenizer, parts: Parts, lengths: Sequence[Lengths]) -> Iterator[bytes]:
    """Yield the ids as they are in memory, and count what they stand for."""
    for chunks, length in zip(parts, lengths, strict=True):
        for ids in tokenizer.encode_chunks(_counted(chunks, length)):
            length.ids += len(ids)
            yield ids.tobytes()


def _counted(chunks: Iterable[str], length: Lengths) -> Iterator[str]:
    for chunk in chunks:
        length.characters += len(chunk)
        length.bytes += len(chunk) if chunk.isascii() else len(to_bytes(chunk))
        yield chunk


def _believed(path: Path, key: str, dtype: np.dtype[Any]) -> list[Encoded] | None:
    """Return the ids that a file holds if its record fits them and is the one that is looked for."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - LONGEST_RECORD))
            line = file.read().rpartition(b"\n")[2]
            record = json.loads(line)
            lengths = [Lengths(*numbers) for numbers in record["parts"]]
            room = sum(length.ids for length in lengths) * dtype.itemsize
            if size == room + 1 + len(line) and record == _record(key, lengths, _checksum(file, room)):
                return _maps(file, dtype, lengths)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return None


def _checksum(file: BinaryIO, size: int) -> int:
    checksum = 0
    file.seek(0)
    for begin in range(0, size, CHUNK):
        checksum = zlib.crc32(file.read(min(CHUNK, size - begin)), checksum)
    return checksum


def _maps(file: BinaryIO, dtype: np.dtype[Any], lengths: Iterable[Lengths]) -> list[Encoded]:
    encoded, offset = [], 0
    for length in lengths:
        ids = np.memmap(file, dtype, "r", offset, (length.ids,))
        encoded.append(Encoded(ids, length.characters, length.bytes))
        offset += ids.nbytes
    return encoded
