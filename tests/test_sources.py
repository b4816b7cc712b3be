"""Reading in chunks of a few bytes against decoding the whole, and reading again against reading once."""

import bz2
import errno
import gzip
import io
import lzma
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import text_file
from charrnn.data.text import read_texts
from charrnn.data.text_file import NotTextError, Source, incremental_decoder
from charrnn.errors import MachineError, TextError

ENCODINGS = [
    "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp932", "gb18030", "iso2022_jp", "hz", "cp1252",
]  # fmt: skip
TEXT = "one\r\ntwo \u00e9\u00e8 \u3042\u4e2d \ufeff\U0001f680\n\0 three"


@pytest.fixture(params=[1, 2, 3, 5], ids="chunks of {}".format)
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(text_file, "CHUNK", request.param)
    return int(request.param)


def source(data: bytes, encoding: str = "utf-8", name: str = "a.txt") -> Source:
    path = Path(tempfile.mkdtemp(), name)
    path.write_bytes(data)
    return Source(str(path), encoding)


@given(data=st.binary(max_size=30), encoding=st.sampled_from(ENCODINGS), chunk=st.integers(1, 7))
def test_any_bytes_in_any_chunks_are_what_decoding_the_whole_makes_of_them(
    data: bytes, encoding: str, chunk: int
) -> None:
    def decode() -> str:
        decoder = incremental_decoder(encoding, data)
        pieces = [data[begin : begin + chunk] for begin in range(0, len(data), chunk)]
        return "".join(decoder.decode(piece) for piece in pieces) + decoder.decode(b"", final=True)

    try:
        whole = data.decode(encoding)
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            decode()
    else:
        assert decode() == whole


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-32-be", "utf-7", "gb18030", "cp932"]
)
def test_a_text_in_small_chunks_is_the_same_text(encoding: str, small_chunks: int) -> None:
    text = TEXT if encoding != "cp932" else "one\r\n\u3042\0\n"
    found = source(text.encode(encoding), encoding)
    for _ in range(2):
        chunks = list(found.chunks())
        assert "".join(chunks) == text
        assert all(chunks)
        assert (found.marked, found.with_nul) == (False, True)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress), ("a", bytes)],
)
def test_packed_files_are_unpacked_in_small_chunks(
    name: str, pack: Callable[[bytes], bytes], small_chunks: int
) -> None:
    assert (
        "".join(source(pack("\ufeff\u00e9t\u00e9".encode()), name=name).chunks()) == "\u00e9t\u00e9"
    )


@pytest.mark.parametrize(
    ("data", "encoding", "place"),
    [
        (b"one\ntwo\nit\x92s more\n", "utf-8", "0x92 at offset 10 (line 3)"),
        ("\u00e9\n\u20ac".encode()[:-1], "utf-8", "0xe2 at offset 3 (line 2)"),
        (b"\xef\xbb\xbfab\n\xff", "utf-8-sig", "0xff at offset 6 (line 2)"),
        ("ab\n".encode("utf-16-le") + b"\x00\xdc", "utf-16-le", "0x00 at offset 6 (line 2)"),
        (b"a\n\x81", "cp932", "0x81 at offset 2 (line 2)"),
    ],
)
def test_errors_say_the_same_place_in_small_chunks(
    data: bytes, encoding: str, place: str, small_chunks: int
) -> None:
    with pytest.raises(NotTextError) as caught:
        list(source(data, encoding).chunks())
    assert place in caught.value.message
    with pytest.raises(UnicodeDecodeError) as whole:
        data.decode(encoding)
    assert (
        f"offset {whole.value.start + len(data) - len(whole.value.object)} " in caught.value.message
    )


def test_a_surrogate_is_counted_from_the_beginning_of_the_text(small_chunks: int) -> None:
    first, second = source(b"abc", "utf-7"), source(b"ab+2AA-b", "utf-7")
    with pytest.raises(TextError, match=r"offset 5 .*U\+D800"):
        read_texts([first.path, second.path], encoding="utf-7")


@pytest.mark.parametrize("data", [b"short", b"long " * 20], ids=["in memory", "in a file"])
def test_what_can_be_read_only_once_is_kept(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "CHUNK", 10)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    seen: list[tuple[int, int | None]] = []
    text = read_texts(["-"], watch=lambda done, total: seen.append((done, total)))
    for _ in range(3):
        assert "".join(text.chunks()).encode() == data
    assert seen[-1] == (len(data), None)


def test_a_full_disk_is_named_when_standard_input_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda **_: Full())
    with pytest.raises(
        MachineError,
        match=r"Cannot keep standard input in .*: No space left on device\.\nSet TMPDIR",
    ):
        read_texts(["-"])


def test_a_file_in_a_folder_counts_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "CHUNK", 4)
    for name, data in {"a": b"first", "b": b"bad at the end\xff", "c": b"last"}.items():
        (tmp_path / name).write_bytes(data)
    text = read_texts([str(tmp_path)])
    assert ("".join(text.chunks()), text.characters, text.bytes) == ("firstlast", 9, 9)


@pytest.mark.parametrize("data", [b"other text", b"tex", b"text and more", b"t\xffxt", None])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    data: bytes | None, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    text = read_texts([str(tmp_path / "a.txt")])
    if data is None:
        (tmp_path / "a.txt").unlink()
    else:
        (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(TextError, match=r"changed while it was read|is not UTF-8|no such file"):
        list(text.chunks())


def test_progress_knows_the_end_of_plain_files_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"text"))
    for names, expected in {
        ("a.txt", "a.txt"): [(4, 8), (8, 8)],
        ("a.txt", "b.gz"): [(4, None), (8, None)],
    }.items():
        seen: list[tuple[int, int | None]] = []
        read_texts([str(tmp_path / name) for name in names], watch=lambda *told: seen.append(told))  # noqa: B023
        assert seen == expected
