"""Ids of a text of any size.

Encoded in a stream into a file, and read from there through a memory map.

The file that a run keeps holds the ids of the training part, those of the validation part, each
followed by where its records begin if it has some, and a line of its own: what they were made from,
their lengths, a checksum. A file that does not fit its last line is not believed but made anew.

Of a text of records, one record at a time is in memory, and 8 bytes for each that there is: where
it begins.
"""

import hashlib
import json
import mmap
import os
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.data.text import Encoded
from charrnn.errors import MachineError, TextError
from charrnn.storage.atomic import cannot, only_regular, write_all, write_stream
from charrnn.tokenizers.base import Tokenizer, id_dtype, to_bytes

VERSION = 2
CHUNK = 1 << 20  # bytes
LONGEST_RECORD = 1000  # bytes; it is about 200
PLACE = np.dtype(np.int64)  # of a record's first id

Parts = Sequence[Iterable[str]]  # texts in chunks or in records, to be read in this order


@dataclass
class Lengths:
    """How long a part of a text is, as far as it was encoded."""

    ids: int = 0
    characters: int = 0
    bytes: int = 0
    records: int = 0


def encode_kept(
    tokenizer: Tokenizer,
    parts: Callable[[], Parts],
    path: Path,
    text: str,
    *,
    records: bool = False,
) -> list[Encoded]:
    """Return the parts of a text as ids from the file at `path`.

    Write it, whole, if it is not what they are.

    Args:
        tokenizer: Makes the ids.
        parts: Opens the text, if it has to be encoded.
        path: A regular file, or nothing yet. Nobody else may be writing there.
        text: What the parts are a function of: the text's SHA-256, and where and how it is divided.
        records: Each chunk is a record, so no token reaches from one to the next.

    Raises:
        TextError: The text cannot be read any more, or has changed; or it has no record.
        MachineError: The file cannot be written.
    """
    made_from = json.dumps([VERSION, text, records, np.little_endian, tokenizer.to_dict()])
    key, dtype = hashlib.sha256(made_from.encode()).hexdigest(), id_dtype(tokenizer.size)
    only_regular(path)
    found = _believed(path, key, dtype)
    if found is not None:
        return found
    opened = parts()
    lengths = [Lengths() for _ in opened]
    write_stream(path, _whole_file(_pieces(tokenizer, opened, lengths, records), lengths, key))
    try:
        with path.open("rb") as file:
            return _maps(file, dtype, lengths)
    except OSError as error:
        raise cannot("read", path, error) from error


def encode_once(tokenizer: Tokenizer, parts: Parts, *, records: bool = False) -> list[Encoded]:
    """Return the parts of a text as ids from a temporary file without a name, which ends with the process.

    Args:
        tokenizer: Makes the ids.
        parts: The text.
        records: Each chunk is a record, so no token reaches from one to the next.

    Raises:
        TextError: The text cannot be read any more, or has changed; or it has no record.
        MachineError: The file cannot be written.
    """
    lengths = [Lengths() for _ in parts]
    try:
        with tempfile.TemporaryFile() as file:
            for piece in _pieces(tokenizer, parts, lengths, records):
                write_all(file.fileno(), piece)
            return _maps(file, id_dtype(tokenizer.size), lengths)
    except OSError as error:
        what = (
            f"Cannot keep the encoded text in {tempfile.gettempdir()}: {error.strerror or error}."
        )
        raise MachineError(what, "Set TMPDIR to a folder with more room.") from None


def take(ids: NDArray[np.integer[Any]], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `ids[places]`.

    Of a mapped file, no more stays in this process's memory than was there before.
    """
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


def _whole_file(pieces: Iterable[bytes], lengths: Sequence[Lengths], key: str) -> Iterator[bytes]:
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield b"\n" + json.dumps(_record(key, lengths, checksum)).encode()


def _record(key: str, lengths: Sequence[Lengths], checksum: int) -> dict[str, Any]:
    """Return what is said about the ids; the checksum covers it, too."""
    facts = {"key": key, "parts": [list(astuple(part)) for part in lengths]}
    return facts | {"crc32": zlib.crc32(json.dumps(facts).encode(), checksum)}


def _pieces(
    tokenizer: Tokenizer, parts: Parts, lengths: Sequence[Lengths], records: bool
) -> Iterator[bytes]:
    """Yield the file's content but for its last line, as it is in memory, and count what it stands for."""
    for chunks, length in zip(parts, lengths, strict=True):
        counted = _counted(chunks, length)
        if records:
            yield from _encoded_records(tokenizer, counted, length)
            continue
        for ids in tokenizer.encode_chunks(counted):
            length.ids += len(ids)
            yield ids.tobytes()


def _encoded_records(
    tokenizer: Tokenizer, records: Iterable[str], length: Lengths
) -> Iterator[bytes]:
    """Yield the ids of records, some thousands of these at a time, and then where each begins."""
    starts, waiting, size = array("q"), list[bytes](), 0
    for record in records:
        ids = tokenizer.encode(record)
        starts.append(length.ids)
        length.ids += len(ids)
        waiting.append(ids.tobytes())
        size += ids.nbytes
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if not starts:
        raise TextError("There is no record in the text: it is blank.")
    length.records = len(starts)
    yield b"".join(waiting)
    yield starts.tobytes()


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
            room = sum(
                length.ids * dtype.itemsize + length.records * PLACE.itemsize for length in lengths
            )
            if size == room + 1 + len(line) and record == _record(
                key, lengths, _checksum(file, room)
            ):
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
        offset += ids.nbytes
        file.seek(offset)
        starts = np.frombuffer(file.read(length.records * PLACE.itemsize), PLACE)
        offset += starts.nbytes
        encoded.append(
            Encoded(ids, length.characters, length.bytes, starts if length.records else None)
        )
    return encoded
