"""Numbers in memory-mapped files, read without keeping the files' pages in memory."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def take(ids: NDArray[np.integer[Any]], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `ids[positions]`, without keeping pages of a mapped file in memory."""
    taken = ids[positions].astype(np.int64)
    release_pages(ids)
    return taken


def release_pages(ids: NDArray[np.integer[Any]]) -> None:
    """Release the pages of a mapped file; the system still caches them while it has memory."""
    if isinstance(ids.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        ids.base.madvise(mmap.MADV_DONTNEED)
