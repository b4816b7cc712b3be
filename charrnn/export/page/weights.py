"""Weights as a page holds them: whole numbers with a scale per row, fp16, or fp32.

Tables of n-grams may have many more entries than all other weights together, but an error in a row
costs less the less often the row is read. As `int8`, rarer rows are therefore rounded more
coarsely, some of them to zero. `coder` then needs few bits for the small numbers that are left.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.model import ModelConfig
from charrnn.data.encoding import Encoded
from charrnn.errors import UsageError
from charrnn.export.page.coder import encode
from charrnn.model.ngram_hash import ngram_rows
from charrnn.model.shapes import TABLES

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]
FORMATS = ("int8", "fp16", "fp32")
BITS = {"int8": 6, "fp16": 16, "fp32": 32}  # of a number, at most
KINDS = {"int8": "i1", "fp16": "<f2", "fp32": "<f4"}
LARGEST = 31  # of the whole numbers in a matrix
LARGEST_HALF = float(np.finfo(np.float16).max)
# Steps of a table's row that is read once in so many symbols, as fractions of the root mean square
# of the table, and the power of the use by which they fall. Measured: see RESULTS.md.
TABLE_STEPS, USUAL_DISTANCE, POWER = (1.4, 1.0, 0.7), 32_768, -1 / 3
MAX_TABLE_INT = 127
MAX_COUNTED = 1 << 22  # symbols of a text that the use of rows is counted in


@dataclass(frozen=True)
class Packed:
    """One array of weights as the page has it.

    Attributes:
        values: The numbers that the page's script computes with.
        data: The same as JSON values; see `weights.js`.
    """

    values: npt.NDArray[np.float32]
    data: dict[str, Any]


def pack(
    weights: Weights, number_format: str, use: Array | None = None, step: float = TABLE_STEPS[0]
) -> dict[str, Packed]:
    """Return weights by name, in a number format; vectors, which are small, stay in fp32.

    Args:
        weights: The weights.
        number_format: One of `FORMATS`.
        use: At what share of the symbols of a text each row of the tables is read; see `row_use`.
            If it is unknown, all are taken to be read equally often.
        step: How coarse the rows of tables are as `int8`, one of `TABLE_STEPS`.

    Raises:
        UsageError: A weight is too large for fp16.
    """
    return {
        name: _pack_table(array, number_format, use, step)
        if name == TABLES
        else _pack(array, "fp32" if array.ndim == 1 else number_format)
        for name, array in weights.items()
    }


def largest_size(weights: Weights, number_format: str) -> int:
    """Return a number of characters that weights take in a page at most, about."""
    numbers = sum(int(array[array.any(axis=-1)].size) for array in weights.values())
    return numbers * BITS[number_format] * 2 // 13


def row_use(config: ModelConfig, text: Encoded) -> Array:
    """Return at what share of a text's first symbols each row of the tables is read, (rows,).

    What is never read counts as half a symbol.
    """
    ids = text.ids[:MAX_COUNTED]
    before = config.ngram_embedding - 1
    starts = np.zeros(1, np.int64) if text.starts is None else text.starts[text.starts < len(ids)]
    codes = np.insert(ids.astype(np.int64) + 1, np.repeat(starts, before), 0)
    counts = np.full(before * config.ngram_rows, 0.5)
    for rows in ngram_rows(codes[None], config):
        counts += np.bincount(rows[0], minlength=len(counts))
    return counts / max(1, len(ids))


def _pack(array: Array, number_format: str) -> Packed:
    if number_format == "int8":
        largest = np.abs(array).max(axis=1, keepdims=True)
        scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
        whole = np.rint(array / scale)
        return _packed(array.shape, whole, number_format, scale)
    if number_format == "fp16":
        _check_half(array)
    return _packed(array.shape, array, number_format)


def _packed(
    shape: tuple[int, ...], numbers: Array, number_format: str, scale: Array | None = None
) -> Packed:
    stored = numbers.astype(KINDS[number_format])
    data = {"shape": list(shape), "dtype": number_format, "data": encode(stored.tobytes())}
    values = stored.astype(np.float32)
    if scale is None:
        return Packed(values, data)
    return Packed(values * scale, data | {"scale": encode(scale.astype("<f4").tobytes())})


def _pack_table(table: Array, number_format: str, use: Array | None, step: float) -> Packed:
    """Return the rows of a table that are not zero, in classes of rows with the same scale."""
    values, parts = np.zeros(table.shape, np.float32), list[dict[str, Any]]()
    classes = np.zeros(len(table), np.uint8)
    for rows, whole, scale in _rounded_rows(table, number_format, use, step):
        part = _packed(whole.shape, whole, number_format)
        classes[rows] = len(parts) + 1
        values[rows] = part.values * scale
        parts.append({"scale": float(scale), "data": part.data["data"]})
    shape = {"shape": list(table.shape), "dtype": number_format}
    return Packed(values, shape | {"classes": encode(classes.tobytes()), "parts": parts})


def _rounded_rows(
    table: Array, number_format: str, use: Array | None, step: float
) -> Iterator[tuple[Array, Array, np.float32]]:
    """Yield classes of rows: their places, their numbers, and the scale of these."""
    rows = np.flatnonzero(table.any(axis=1))
    if number_format != "int8":
        if number_format == "fp16":
            _check_half(table)
        yield rows, table[rows], np.float32(1)
        return
    exponents = _exponents(table[rows], None if use is None else use[rows], step)
    for exponent in np.unique(exponents):
        places = rows[exponents == exponent]
        whole = np.rint(table[places] * 2.0**-exponent).clip(-MAX_TABLE_INT, MAX_TABLE_INT)
        left = whole.any(axis=1)
        places, whole = places[left], whole[left]
        if len(places):
            yield places, whole, _best_scale(whole, table[places])


def _best_scale(whole: Array, rows: Array) -> np.float32:
    """Return the factor of whole numbers with the smallest squared error."""
    return np.float32((whole * rows).sum() / (whole * whole).sum())


def _exponents(rows: Array, use: Array | None, fraction: float) -> Array:
    """Return the power of two that is the step of each row."""
    size = np.sqrt(np.mean(rows.astype(np.float64) ** 2)) if rows.size else 1.0
    step = np.full(len(rows), fraction * size)
    if use is not None:
        step *= (use * USUAL_DISTANCE) ** POWER
    exponents: Array = np.rint(np.log2(step)).astype(np.int64)
    return exponents


def _check_half(array: Array) -> None:
    largest = float(np.abs(array).max(initial=0))
    if largest > LARGEST_HALF:
        message = f"A weight of {largest:g} is too large for `weights` fp16."
        raise UsageError(message, "Use `weights` int8 or `weights` fp32.")
