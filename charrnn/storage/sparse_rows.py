"""Tables of n-grams in files: only the rows that training has touched.

A table `NAME`, most of whose rows may be zeros, is stored as the other rows under its own name, and
as `NAME.rows`: their numbers, ascending, and then the number of rows of the table.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.model import MAX_TABLES
from charrnn.errors import ModelFileError
from charrnn.model.shapes import TABLES

Arrays = dict[str, NDArray[Any]]

ROWS = ".rows"


def pack_rows(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return `arrays` without the rows of zeros of the tables (rows, width) of n-grams."""
    packed = dict(arrays)
    for name, table in arrays.items():
        if name.endswith(TABLES):
            rows = np.flatnonzero(table.any(axis=1))
            packed[name], packed[name + ROWS] = table[rows], np.append(rows, len(table))
    return packed


def unpack_rows(arrays: Mapping[str, NDArray[Any]], file: str) -> Arrays:
    """Return what was given to `pack_rows`.

    Args:
        arrays: What it returned, read from a file.
        file: The file's name in errors.

    Raises:
        ModelFileError: The rows do not fit their numbers, or the numbers are not ascending.
    """
    unpacked = {name: array for name, array in arrays.items() if not name.endswith(TABLES + ROWS)}
    for name, values in unpacked.items():
        if name.endswith(TABLES):
            rows = arrays.get(name + ROWS)
            if rows is None or not _fit(rows, values):
                raise ModelFileError(f"{file}: {name!r} does not fit {name + ROWS!r}.")
            table = np.zeros((int(rows[-1]), values.shape[1]), values.dtype)
            table[rows[:-1]] = values
            unpacked[name] = table
    return unpacked


def _fit(rows: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether `rows` are possible numbers for the rows of `values`, and their table's."""
    if rows.dtype != np.int64 or rows.ndim != 1 or values.ndim != 2:
        return False
    if len(rows) != len(values) + 1 or not (np.diff(rows) > 0).all():
        return False
    return bool(rows[0] >= 0 and int(rows[-1]) * max(1, values.shape[1]) <= MAX_TABLES)
