"""The standard library's compressors as language models.

What a text adds to the compressed training text.

A compressor remembers no further back than its window, so each is primed with what it can use:

    gzip   the last 32 KB of the training text, deflate's window, given as zlib's dictionary
    bz2    the training text's end, as much as fits with the text into one block of 900 KB
    xz     all of the training text: LZMA2 with a window as large as the two together, up to 1.5 GB
"""

import bz2
import lzma
import zlib
from collections.abc import Callable

DEFLATE_WINDOW = 1 << 15
BLOCK = 900_000  # of bzip2 -9
XZ_WINDOW = 3 << 29


def compressed(name: str, train: str, text: str) -> int:
    """Return the bytes that `text` takes after `train`, which may be empty.

    Args:
        name: A key of `COMPRESSORS`.
        train: The training text.
        text: The held-out text.
    """
    return COMPRESSORS[name](train.encode(), text.encode())


def gzip_size(train: bytes, text: bytes) -> int:
    """Return the length of the deflated text, primed with the window's worth of `train`.

    No header, no checksum.
    """
    compressor = zlib.compressobj(
        9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, train[-DEFLATE_WINDOW:]
    )
    return len(compressor.compress(text)) + len(compressor.flush())


def bz2_size(train: bytes, text: bytes) -> int:
    """Return what the text adds to the compressed end of `train`, in a block that holds both if they fit."""
    context = train[-max(0, BLOCK - len(text)) :] if len(text) < BLOCK else b""
    return max(0, len(bz2.compress(context + text)) - len(bz2.compress(context)))


def xz_size(train: bytes, text: bytes) -> int:
    """Return what the text adds to the compressed `train`."""
    window = min(XZ_WINDOW, max(1 << 12, len(train) + len(text)))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]
    sizes = [
        len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters)) for data in (train + text, train)
    ]
    return max(0, sizes[0] - sizes[1])


COMPRESSORS: dict[str, Callable[[bytes, bytes], int]] = {
    "gzip": gzip_size,
    "bz2": bz2_size,
    "xz": xz_size,
}
REACH = {"gzip": "32 KB", "bz2": "one block", "xz": "all"}  # what of the training text each can use
