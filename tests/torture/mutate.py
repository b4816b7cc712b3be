"""Files that are wrong in ways that nobody thought of.

Those of `resealed` carry the right checksum nevertheless.
"""

import copy
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        7,
        255,
        1 << 31,
        1 << 63,
        10**30,
        -(10**30),
        0.5,
        -0.0,
        1e308,
        1e-320,
    ),
    *(
        float("nan"),
        float("inf"),
        "",
        "a",
        "nan",
        "../../etc/passwd",
        "\x00",
        "\x1b[31m",
        "é",
        "\ud800",
        "x" * 300,
    ),
    *(
        [],
        {},
        [[]],
        [0],
        [None],
        {"a": 1},
        {"kind": "char"},
        [[[[[[[[]]]]]]]],
        ["a"] * 50,
        [1e400],
        {"": {}},
    ),
]
BYTES = [0, 1, 0x20, 0x22, 0x2C, 0x5B, 0x5C, 0x5D, 0x7B, 0x7D, 0x7F, 0x80, 0xFF]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with a few bytes changed, removed, repeated, added or zeroed."""
    changed = bytearray(data)
    while changed == data:
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            rng.choice(WAYS)(changed, rng)
    return bytes(changed)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(BYTES)


def _remove(data: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(data) + 1)
    del data[begin : begin + rng.choice((1, 2, 8, 100, len(data)))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(data) + 1)
    data[rng.randrange(len(data) + 1) : 0] = data[begin : begin + rng.choice((1, 8, 100))]


def _insert(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data) + 1) : 0] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _zero(data: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(data) + 1)
    end = min(len(data), begin + rng.choice((4, 64, 512, 4096)))
    data[begin:end] = bytes(end - begin)


def _length(data: bytearray, rng: random.Random) -> None:
    data[:8] = rng.choice(
        (0, 1, len(data), max(0, len(data) - 8), 10**8, 10**9, 1 << 63, (1 << 64) - 1)
    ).to_bytes(8, "little")


WAYS: list[Callable[[bytearray, random.Random], None]] = [
    _flip,
    _flip,
    _set,
    _remove,
    _repeat,
    _insert,
    _zero,
    _length,
]


def mutated_json(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one to three of its parts changed, removed, added or moved."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holders = list(_holders(changed))
        if not holders:
            return rng.choice(ODD)
        _change(rng.choice(holders), rng)
    return rng.choice(ODD) if rng.random() < 0.01 else changed


def _holders(value: Any) -> list[Any]:
    """Return the lists and tables in a value which are not empty, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [holder for part in inner for holder in _holders(part)]
    return [value, *found] if isinstance(value, (dict, list)) and value else found


def _change(holder: Any, rng: random.Random) -> None:
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    way = rng.randrange(6)
    if way < 2:
        holder[key] = copy.deepcopy(rng.choice(ODD))
    elif way == 2:
        holder[key] = _near(holder[key], rng)
    elif way == 3:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(rng.choice([holder[key], rng.choice(ODD)])))
    elif way == 4:
        holder[rng.choice(["", "x", "format", "kind", "__metadata__"])] = copy.deepcopy(
            rng.choice(ODD)
        )
    else:
        holder[rng.choice(list(holder))] = copy.deepcopy(holder[key])


def _near(value: Any, rng: random.Random) -> Any:
    """Return a value of the same type that is a little off."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, value - 1, -value, value * 2, value * 1000, value / 3])
    if isinstance(value, str):
        return rng.choice([value[:-1], value + "a", value * 2, value.upper(), value[::-1]])
    return [value]


@dataclass(frozen=True)
class Parts:
    """What a checkpoint consists of.

    Attributes:
        tensors: Each tensor's dtype, shape and place.
        metadata: What the envelope holds.
        data: The tensors' bytes.
    """

    tensors: dict[str, Any]
    metadata: Any
    data: bytes


def parts_of(file: bytes) -> Parts:
    """Take a checkpoint apart."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    envelope = json.loads(header.pop("__metadata__")["charrnn"])
    return Parts(header, envelope["metadata"], file[8 + size :])


def resealed(parts: Parts, version: int = 1) -> bytes:
    """Put a checkpoint together, with the checksum that it should have."""
    metadata = json.dumps(parts.metadata, separators=(",", ":"))
    envelope = f'{{"format":{version},"sha256":"{"0" * 64}","metadata":{metadata}}}'
    header = json.dumps(
        {"__metadata__": {"charrnn": envelope}} | parts.tensors, separators=(",", ":")
    ).encode()
    file = len(header).to_bytes(8, "little") + header + parts.data
    return file.replace(b"0" * 64, hashlib.sha256(file).hexdigest().encode(), 1)


def mutated_parts(parts: Parts, rng: random.Random) -> bytes:
    """Return a checkpoint that differs from `parts` in a part and has the right checksum."""
    what = rng.random()
    if what < 0.7:
        return resealed(Parts(parts.tensors, mutated_json(parts.metadata, rng), parts.data))
    if what < 0.9:
        tensors = mutated_json(parts.tensors, rng)
        return resealed(
            Parts(
                tensors if isinstance(tensors, dict) else {"": tensors}, parts.metadata, parts.data
            )
        )
    return resealed(Parts(parts.tensors, parts.metadata, mutated_bytes(parts.data, rng)))
