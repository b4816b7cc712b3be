"""Lines as soon as there are any, against splitting the whole."""

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data import lines
from charrnn.data.lines import line_batches
from charrnn.errors import TextError, UsageError

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "gb18030"]


class Terminal(io.BytesIO):
    """Standard input that comes in pieces, one for each read."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self.pieces = pieces

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def type_in(patch: pytest.MonkeyPatch, *pieces: bytes) -> None:
    patch.setattr(sys, "stdin", io.TextIOWrapper(Terminal(list(pieces))))


def batches(path: Path | str, encoding: str = "utf-8") -> list[list[str]]:
    return list(line_batches([str(path)], encoding))


@given(
    text=st.text(st.sampled_from("ab\r\n\u00e9\u2028\ufeff\U0001f680")),
    encoding=st.sampled_from(ENCODINGS),
    size=st.integers(1, 9),
)
@example(text="\ufeff\ufeffa\n", encoding="utf-8", size=1)
@example(text="a\r", encoding="utf-8", size=1)
def test_lines_are_those_of_the_whole_wherever_it_is_cut(
    text: str, encoding: str, size: int
) -> None:
    data = text.encode(encoding)
    whole = data.decode(encoding).removeprefix("\ufeff")
    *expected, last = whole.split("\n")
    expected += [last] if last else []
    with pytest.MonkeyPatch.context() as patch:
        type_in(patch, *(data[begin : begin + size] for begin in range(0, len(data), size)))
        found = batches("-", encoding)
    assert all(found), "no batch is empty"
    assert [line for batch in found for line in batch] == [
        line.removesuffix("\r") for line in expected
    ]


def test_a_batch_is_all_that_can_be_read_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"a\nb\nc", b"", b"never")
    assert batches("-") == [["a", "b"], ["c"]]
    type_in(monkeypatch, b"one", b" line", b"\ntwo")
    assert batches("-") == [["one line"], ["two"]]


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"a\n")
    assert list(line_batches(["-", "-"], "utf-8")) == [["a"]]
    assert not sys.stdin.closed


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress)],
)
def test_files_are_unpacked_and_read_one_after_the_other(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "READ_SIZE", 3)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack("\ufeff\u00e9\r\nb".encode()))
    found = line_batches([str(path), str(path)], "utf-8")
    assert [line for batch in found for line in batch] == ["\u00e9", "b"] * 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a", b"a\nb\n\xff", r"^'.*a' is not UTF-8 after line 2: "),
        ("a", b"a\n\xc3", r"^'.*a' is not UTF-8 after line 1: "),
        ("a.gz", b"plain", r"^Cannot read '.*a\.gz': .+\.\nGive text files"),
        ("a.gz", gzip.compress(b"a\n" * 99)[:-9], r"^Cannot read '.*a\.gz': "),
        ("a.gz", gzip.compress(b"a\n" * 99)[:10] + b"\xff" * 20, r"^Cannot read '.*a\.gz': "),
        ("a.xz", b"plain", r"^Cannot read '.*a\.xz': "),
        ("a.xz", lzma.compress(b"a\n" * 99)[:-9], r"^Cannot read '.*a\.xz': "),
    ],
    ids=[
        *("bytes", "cut off", "not gzip", "gzip cut off", "gzip damaged", "not xz", "xz cut off"),
    ],
)
def test_what_cannot_be_read_is_named(
    name: str, data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "READ_SIZE", 2)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TextError, match=message):
        batches(tmp_path / name)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(TextError, match=rf"^Cannot read '{path}': \w+"):
            batches(path)
    with pytest.raises(TextError, match="null byte"):
        batches("a\0b")


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        batches("-")


@pytest.mark.parametrize("encoding", ["qqq", "rot13", "hex", "\0"])
def test_an_encoding_that_does_not_exist(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\n")
    with pytest.raises(UsageError, match="is not a text encoding that Python knows"):
        batches(tmp_path / "a", encoding)


def test_the_end_of_our_own_reader_is_not_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Broken()))
    with pytest.raises(BrokenPipeError):
        batches("-")
