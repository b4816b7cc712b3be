"""The lines of texts, as soon as they can be read."""

import codecs
import lzma
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charrnn.data.not_text import display_name
from charrnn.data.text import check_encoding
from charrnn.data.text_file import BYTE_ORDER_MARK, UNPACK
from charrnn.errors import TextError, UsageError

READ_SIZE = 1 << 16  # the most bytes at a time; a read does not wait for all of them


def line_batches(paths: Sequence[str], encoding: str) -> Iterator[list[str]]:
    """Yield lines without their line ends, as many at a time as can be read without waiting.

    Args:
        paths: Files, compressed or not, or "-" for standard input.
        encoding: Any text encoding that Python knows.

    Raises:
        UsageError: Python knows no such encoding.
        TextError: A file cannot be read, or is not in this encoding.
    """
    check_encoding(encoding)
    new_decoder = codecs.getincrementaldecoder(encoding)
    for path in paths:
        name, count = display_name(path), 0
        try:
            for lines in _lines_of(path, new_decoder()):
                yield lines
                count += len(lines)
        except UnicodeError as error:
            where = f"after line {count:,}: {error}"
            raise TextError(f"{name} is not {encoding.upper()} {where}.") from None
        except BrokenPipeError:
            raise  # from standard output, not from reading
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            hint = "Give text files, or - for standard input."
            raise TextError(f"Cannot read {name}: {reason}.", hint) from None


def _lines_of(path: str, decoder: codecs.IncrementalDecoder) -> Iterator[list[str]]:
    """Yield the lines of one file, a batch for each read."""
    if path == "-" and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Name a text file instead of '-'.")
    held, first = "", True
    with _opened(path) as stream:
        while raw := stream.read1(READ_SIZE):
            text = decoder.decode(raw)
            held += text.removeprefix(BYTE_ORDER_MARK) if first else text
            *lines, held = held.split("\n")
            first = first and not text
            if lines:
                yield [line.removesuffix("\r") for line in lines]
    held += decoder.decode(b"", final=True)
    if held:
        yield [held.removesuffix("\r")]


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a file, unpacked if its name ends like a compressed file; standard input stays open."""
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        unpack = UNPACK.get(Path(path).suffix.lower())
        yield unpack(file) if unpack else file
