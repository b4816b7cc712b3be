"""Weights as a page holds them: base64 of int8 with a scale per row, of fp16, or of fp32."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import UsageError
from charrnn.model.shapes import TABLES

Weights = Mapping[str, npt.NDArray[Any]]
FORMATS = ("int8", "fp16", "fp32")
LARGEST_INT8 = 127
LARGEST_STEP = 65_535  # from one row of a table to the next
LARGEST_HALF = float(np.finfo(np.float16).max)


def pack(weights: Weights, number_format: str) -> dict[str, dict[str, Any]]:
    """Return weights as JSON values; vectors, which are small, stay in fp32.

    Raises:
        UsageError: A weight is too large for fp16.
    """
    return {
        name: _pack_table(array, number_format) if name == TABLES else _pack(array, number_format)
        for name, array in weights.items()
    }


def unpack(packed: Mapping[str, Mapping[str, Any]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights that the page's script computes with."""
    return {
        name: _unpack_table(one) if "rows" in one else _unpack(one) for name, one in packed.items()
    }


def packed_size(weights: Weights, number_format: str) -> int:
    """Return the number of characters that weights take in a page, names and shapes left out."""
    each = {"int8": 1, "fp16": 2, "fp32": 4}[number_format]
    size = 0
    for name, array in weights.items():
        rows, width = len(array), array[0].size
        if name == TABLES:
            rows = int(array.any(axis=1).sum())
        per_row = 4 if array.ndim == 1 else width * each
        per_row += 4 * (array.ndim > 1 and number_format == "int8") + 2 * (name == TABLES)
        size += 4 * -(-rows * per_row // 3)
    return size


def _pack_table(table: npt.NDArray[Any], number_format: str) -> dict[str, Any]:
    """Return the rows that are not zero, and their numbers as steps from one to the next.

    A step of more than 65,535 is made of several; the rows in between are kept as zeros.
    """
    rows = np.flatnonzero(table.any(axis=1))
    gaps = np.diff(rows, prepend=0)
    far = np.concatenate(
        [
            rows[place] - LARGEST_STEP * np.arange(gap // LARGEST_STEP, -1, -1)
            for place, gap in enumerate(gaps.tolist())
        ]
        or [rows]
    )
    kept = np.unique(far[far >= 0])
    steps = np.diff(kept, prepend=0).astype("<u2")
    return _pack(table[kept], number_format) | {"shape": list(table.shape), "rows": _base64(steps)}


def _unpack_table(packed: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    rows = np.frombuffer(base64.b64decode(packed["rows"]), "<u2").cumsum()
    table = np.zeros(packed["shape"], np.float32)
    table[rows] = _unpack({**packed, "shape": [len(rows), packed["shape"][1]]})
    return table


def _pack(array: npt.NDArray[Any], number_format: str) -> dict[str, Any]:
    shape = {"shape": list(array.shape)}
    if array.ndim == 1 or number_format == "fp32":
        return shape | {"dtype": "fp32", "data": _base64(array.astype("<f4"))}
    if number_format == "fp16":
        largest = float(np.abs(array).max())
        if largest > LARGEST_HALF:
            message = f"A weight of {largest:g} is too large for `weights` fp16."
            raise UsageError(message, "Use `weights` int8 or `weights` fp32.")
        return shape | {"dtype": "fp16", "data": _base64(array.astype("<f2"))}
    largest_of_row = np.abs(array).max(axis=1, keepdims=True)
    scale = np.where(largest_of_row > 0, largest_of_row / LARGEST_INT8, 1).astype("<f4")
    whole = np.rint(array / scale).clip(-LARGEST_INT8, LARGEST_INT8).astype(np.int8)
    return shape | {"dtype": "int8", "data": _base64(whole), "scale": _base64(scale)}


def _unpack(packed: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    kinds = {"fp32": "<f4", "fp16": "<f2", "int8": "i1"}
    values = np.frombuffer(base64.b64decode(packed["data"]), kinds[packed["dtype"]])
    array: npt.NDArray[np.float32] = values.astype(np.float32).reshape(packed["shape"])
    if packed["dtype"] == "int8":
        array *= np.frombuffer(base64.b64decode(packed["scale"]), "<f4")[:, None]
    return array


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
