"""The standard library's compressors as language models.

The cost of a text is the number of bytes that it adds to the compressed training text. A compressor
cannot look back further than its window, so each is primed with what fits into it:

    gzip   the last 32 KB of the training text, deflate's window, as zlib's dictionary
    bz2    the end of the training text, as much as fits into one block of 900 KB with the text
    xz     all of the training text: LZMA2 with a window for both texts, up to 1.5 GB
"""

import bz2
import lzma
import zlib
from collections.abc import Callable

DEFLATE_WINDOW = 1 << 15
BLOCK = 900_000  # of bzip2 -9
XZ_WINDOW = 3 << 29


def compressed(name: str, train: str, text: str) -> int:
    """Return the compressed size of `text` after `train`, which may be empty, in bytes.

    Args:
        name: A key of `COMPRESSORS`.
        train: The training text.
        text: The held-out text.
    """
    return COMPRESSORS[name](train.encode(), text.encode())


def gzip_size(train: bytes, text: bytes) -> int:
    """Return the size of the deflated text, without header and checksum, primed with `train`."""
    compressor = zlib.compressobj(
        9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, train[-DEFLATE_WINDOW:]
    )
    return len(compressor.compress(text)) + len(compressor.flush())


def bz2_size(train: bytes, text: bytes) -> int:
    """Return the size that the text adds to the compressed end of `train` in the same block."""
    context = train[-max(0, BLOCK - len(text)) :] if len(text) < BLOCK else b""
    return max(0, len(bz2.compress(context + text)) - len(bz2.compress(context)))


def xz_size(train: bytes, text: bytes) -> int:
    """Return the size that the text adds to the compressed `train`."""
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
PRIMED_WITH = {"gzip": "32 KB", "bz2": "one block", "xz": "all"}  # the part of the training text
