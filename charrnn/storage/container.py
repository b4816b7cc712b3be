"""Arrays and facts <-> one file that is written whole and believed only when every byte of it has been checked.

    8 bytes    length of the header
    header     JSON: {"__metadata__": {"charrnn": ENVELOPE}, tensor's name: its dtype, shape and
    place, ...} data       the tensors, one after another

is the safetensors format, so that other programs can read the weights. By itself it does not notice
a bit flipped in the data, a zeroed region or a dtype swapped for another of the same size. So
charrnn adds an envelope, a JSON string,

    {"format": 1, "sha256": "64 digits", "metadata": {...}}

whose checksum is that of the whole file with its own 64 digits read as zeros: the length, every
character of the header (names, dtypes, shapes, format, metadata) and all of the data. The envelope
is one string because safetensors writes several keys in an order that varies, and equal runs should
give equal files. Nothing is ever unpickled, and nothing in a file is used as a path.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from charrnn.config.schema import CELLS, ModelConfig
from charrnn.errors import DivergedError, MachineError, ModelFileError, UsageError, did_you_mean
from charrnn.model.shapes import weight_shapes
from charrnn.storage.atomic import cannot, kind_of, shown, write_whole
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict

FORMAT = 1
MAX_HEADER = 100_000_000  # bytes; safetensors reads no longer one
MAX_PARTS = (
    1 << 18
)  # lists, tables and entries in a header; one takes 2 bytes of a file, but 100 of memory

Arrays = dict[str, NDArray[Any]]

NO_DIGEST = "0" * 64
ENVELOPE = re.compile(
    rb'"charrnn":"\{\\"format\\":([1-9]\d{0,8}),\\"sha256\\":\\"([0-9a-f]{64})\\"'
)
RUNS_CODE = "which can run code when it is opened"
FOREIGN = {  # how other files begin, and what they are
    rb"PK[\x03\x05]": f"a zip archive, as PyTorch's .pt files are, {RUNS_CODE}",
    rb"\x80[\x02-\x05]": f"a Python pickle, {RUNS_CODE}",
    rb"c[\w.]+\n\w+\n|\([dl]p\d+\n|[\](})]q[\0-\x1f]": f"a Python pickle of an old protocol, {RUNS_CODE}",
    rb"\x93NUMPY": "a NumPy array",
    rb"\x89HDF": "an HDF5 file",
    rb"\x1f\x8b": "compressed by gzip",
    rb"GGUF": "a GGUF file",
    rb"version https://git-lfs": "a Git LFS pointer and not the file itself (git lfs pull fetches it)",
    rb"[\t\n\r -~\x80-\xfd]+\Z": "text",
}


def to_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Encode `arrays` and `metadata`; equal arguments give equal bytes.

    Args:
        arrays: Of any dtype that safetensors knows, under any names.
        metadata: JSON values; tuples come back as lists, and NaN or infinity raises `ValueError`.

    Raises:
        UsageError: Names and metadata together exceed what the format can hold.
    """
    facts = json.dumps(dict(metadata), sort_keys=True, allow_nan=False, separators=(",", ":"))
    envelope = f'{{"format":{FORMAT},"sha256":"{NO_DIGEST}","metadata":{facts}}}'
    # safetensors copies memory as it lies, so a transposed array has to be laid out in order first
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
    """Decode what `to_bytes` gave, after checking every byte of it.

    Memory: the arrays, beside `data`.

    Args:
        data: The file's content.
        name: What to call the file in an error.

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
    """Return the SHA-256 that a file carries, as 64 hexadecimal digits.

    Empty if it carries none.
    """
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
            f"{name} is of format {int(found[1])}, made by a newer charrnn; this one reads format {FORMAT}.",
            "Upgrade: pip install -U charrnn",
        )
    if _checksum(data, found.start(2)) != found[2].decode():
        raise ModelFileError(
            f"{name} is damaged: its checksum does not match.", "Restore it from a copy."
        )


def _checksum(data: bytes, start: int) -> str:
    """Hash `data` with the 64 digits from `start` on read as zeros; nothing is copied."""
    view = memoryview(data)
    sha256 = hashlib.sha256(view[:start])
    sha256.update(NO_DIGEST.encode())
    sha256.update(view[start + 64 :])
    return sha256.hexdigest()


def _envelope(data: bytes) -> re.Match[bytes] | None:
    # quotes inside strings are escaped, so these can only be the key and the value that to_bytes
    # wrote
    return ENVELOPE.search(data, 8, min(8 + _header_size(data), len(data)))


def _header_size(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _header_parts(data: bytes) -> int:
    """Return about how many values the header's JSON has, or more, without reading it."""
    return sum(data.count(sign, 8, 8 + _header_size(data)) for sign in (b"[", b"{", b","))


def _refuse_foreign(head: bytes, size: int, name: str) -> None:
    """Raise `ModelFileError` unless a file of `size` bytes that begins with `head` looks like a safetensors file."""
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
    """Write what `to_bytes` gives by `write_whole`; both say what they raise."""
    write_whole(path, to_bytes(arrays, metadata))


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `save` wrote; `read_file` and `from_bytes` say what they raise."""
    return from_bytes(read_file(path), shown(path))


def read_file(path: Path) -> bytes:
    """Read a safetensors file, and no more of another than tells what it is.

    Raises:
        ModelFileError: There is nothing there, or something else than a safetensors file.
        MachineError: The machine refuses to read it, or has too little memory.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(
            mode
        ):  # asked before opening, which waits at a pipe and may act on a device
            raise ModelFileError(f"{shown(path)} is {kind_of(mode)}, not a model file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            _refuse_foreign(file.read(512), size, shown(path))
            file.seek(0)
            return file.read(size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    except OSError as error:
        raise cannot("read", path, error) from error
    except MemoryError as error:
        raise MachineError(f"{shown(path)} does not fit into memory.") from error


def _missing(path: Path) -> ModelFileError:
    names: list[str] = []
    with suppress(OSError):
        names = [other.name for other in path.parent.iterdir()]
    return ModelFileError(
        f"Cannot read {shown(path)}: no such file or folder.", did_you_mean(path.name, names)
    )


@dataclass(frozen=True)
class SavedModel:
    """All that is needed to sample from a model or to score a text with it.

    Attributes:
        config: The shape of the network.
        tokenizer: Its `size` is the configuration's `vocab_size`.
        weights: float32 arrays, named and shaped as `charrnn.model.shapes.weight_shapes` says.
        about: Facts for people, as JSON values: step, score, the data's name, charrnn's version.
        sha256: Checksum of the file that it was read from; empty before that.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    weights: Arrays
    about: dict[str, Any]
    sha256: str = ""


def save_model(path: Path, model: SavedModel) -> None:
    """Write `model` to the file `path`.

    Raises:
        DivergedError: A weight is not finite; nothing is written.
        MachineError: See `write_whole`.
    """
    if diverged := _not_finite(model.weights):
        raise DivergedError(
            f"{diverged!r} holds values that are not finite; the model is not saved."
        )
    metadata = {
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.to_dict(),
        "about": model.about,
    }
    save(path, model.weights, metadata)


def load_model(path: Path) -> SavedModel:
    """Read a model from a file, or from `model.safetensors` in a run folder, and check that its parts agree.

    Raises:
        ModelFileError: It is missing, damaged, foreign, of a newer format, diverged, or contradicts
            itself.
        MachineError: See `read_file`.
    """
    file = path / "model.safetensors" if os.path.isdir(path) else path  # noqa: PTH112 (this one never raises)
    if file != path and not os.path.lexists(file):
        raise ModelFileError(
            f"{shown(path)} holds no model.safetensors: training has not saved a model there yet."
        )
    data, name = read_file(file), shown(file)
    weights, metadata = from_bytes(data, name)
    if metadata.keys() != {"config", "tokenizer", "about"} or not isinstance(
        metadata["about"], dict
    ):
        raise ModelFileError(
            f"{name} is not a model.", "Give a run folder, or its model.safetensors."
        )
    _refuse_unknown_cell(metadata["config"], name)
    try:
        config = ModelConfig.from_dict(metadata["config"])
        tokenizer = tokenizer_from_dict(metadata["tokenizer"])
    except (UsageError, ModelFileError) as error:
        raise ModelFileError(f"{name}: {error.message}", error.hint) from error
    if tokenizer.size != config.vocab_size:
        raise ModelFileError(
            f"{name}: the tokenizer has {tokenizer.size} symbols, the network {config.vocab_size}."
        )
    return SavedModel(
        config, tokenizer, _checked(weights, config, name), metadata["about"], digest(data)
    )


def _refuse_unknown_cell(config: Any, name: str) -> None:
    """Raise `ModelFileError` if a model's configuration names a cell, and it is one that this version does not have."""
    cell = config.get("cell") if isinstance(config, dict) else None
    if isinstance(cell, str) and cell not in CELLS:
        raise ModelFileError(
            f"{name} has the cell {cell[:40]!r}, which this charrnn does not know; it knows {', '.join(CELLS)}.",
            "A newer charrnn may have made it; upgrade: pip install -U charrnn",
        )


def _checked(weights: Arrays, config: ModelConfig, name: str) -> Arrays:
    """Return `weights` in the model's own order if they are what `config` implies."""
    shapes = weight_shapes(config)
    if odd := sorted(shapes.keys() ^ weights.keys()):
        raise ModelFileError(
            f"{name}: {odd[0]!r} is in its weights or in its configuration, but not in both."
        )
    for key, shape in shapes.items():
        found = weights[key]
        if found.shape != shape or found.dtype != np.float32:
            raise ModelFileError(
                f"{name}: {key!r} is {found.dtype} {found.shape}; its configuration needs float32 {shape}."
            )
    if diverged := _not_finite(weights):
        raise ModelFileError(
            f"{name}: {diverged!r} holds values that are not finite; this model diverged."
        )
    return {key: weights[key] for key in shapes}


def _not_finite(weights: Mapping[str, NDArray[Any]]) -> str:
    return next((key for key, array in weights.items() if not np.isfinite(array).all()), "")
