"""Reading in chunks of a few bytes against decoding the whole, and again against once."""

import bz2
import errno
import gzip
import hashlib
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
from charrnn.data.not_text import NotTextError
from charrnn.data.text import read_text
from charrnn.data.text_file import FileScan, TextFile, incremental_decoder
from charrnn.errors import MachineError, TextError

ENCODINGS = [
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7"),
    *("cp932", "gb18030", "iso2022_jp", "hz", "cp1252"),
]
TEXT = "one\r\ntwo \u00e9\u00e8 \u3042\u4e2d \ufeff\U0001f680\n\0 three"


@pytest.fixture(params=[1, 2, 3, 5], ids="chunks of {}".format)
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(text_file, "CHUNK", request.param)
    return int(request.param)


MakeFile = Callable[..., TextFile]


@pytest.fixture
def file_of(tmp_path: Path) -> MakeFile:
    """Write bytes into a file of their own."""

    def write(data: bytes, encoding: str = "utf-8", name: str = "a.txt", **more: Any) -> TextFile:
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / name
        path.parent.mkdir()
        path.write_bytes(data)
        return TextFile(str(path), encoding, **more)

    return write


def scan(file: TextFile) -> tuple[FileScan, str, list[int]]:
    """Return what was found, the SHA-256 of the text, and what was told."""
    digest, told = hashlib.sha256(), list[int]()
    return file.scan(digest, told.append), digest.hexdigest(), told


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
def test_a_text_in_small_chunks_is_the_same_text(
    encoding: str, small_chunks: int, file_of: MakeFile
) -> None:
    text = TEXT if encoding != "cp932" else "one\r\n\u3042\0\n"
    file, utf8 = file_of(text.encode(encoding), encoding), text.encode()
    for _ in range(2):
        chunks = list(file.chunks())
        assert "".join(chunks) == text
        assert all(chunks)
        found, sha256, told = scan(file)
        assert found == FileScan(len(text), len(utf8), False, has_bom=False, has_nul=True)
        assert sha256 == hashlib.sha256(utf8).hexdigest()
        assert told == sorted(told)
        assert told[-1] == len(utf8)


@given(data=st.text("a \n\u2028\0\ufeff\u00e9").map(str.encode), chunk=st.integers(1, 5))
def test_a_scan_finds_what_the_chunks_are(
    data: bytes, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("scan") / "a.txt"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "CHUNK", chunk)
        found, sha256, _ = scan(TextFile(str(path), "utf-8"))
        text = "".join(TextFile(str(path), "utf-8").chunks())
    assert text == data.decode().removeprefix("\ufeff")
    assert sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (found.characters, found.bytes) == (len(text), len(text.encode()))
    assert found.blank == (not text.strip())
    assert (found.has_bom, found.has_nul) == (data.decode().startswith("\ufeff"), "\0" in text)


def test_a_binary_file_is_refused_only_where_it_was_not_named_itself(file_of: MakeFile) -> None:
    data = b"MZ" + b"\0" * 9
    assert scan(file_of(data))[0].has_nul
    with pytest.raises(NotTextError, match="is binary"):
        scan(file_of(data, in_folder=True))
    assert scan(file_of(b"x" * 8000 + b"\0", in_folder=True))[0].has_nul, "as for git"


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress), ("a", bytes)],
)
def test_packed_files_are_unpacked_in_small_chunks(
    name: str, pack: Callable[[bytes], bytes], small_chunks: int, file_of: MakeFile
) -> None:
    file = file_of(pack("\ufeff\u00e9t\u00e9".encode()), name=name)
    assert "".join(file.chunks()) == "\u00e9t\u00e9"
    assert scan(file)[0] == FileScan(3, 5, False, has_bom=True, has_nul=False)


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
    data: bytes, encoding: str, place: str, small_chunks: int, file_of: MakeFile
) -> None:
    with pytest.raises(NotTextError) as caught:
        list(file_of(data, encoding).chunks())
    assert place in caught.value.message
    with pytest.raises(UnicodeDecodeError) as whole:
        data.decode(encoding)
    assert (
        f"offset {whole.value.start + len(data) - len(whole.value.object)} " in caught.value.message
    )


def test_a_surrogate_is_counted_from_the_beginning_of_the_text(
    small_chunks: int, file_of: MakeFile
) -> None:
    first, second = file_of(b"abc", "utf-7"), file_of(b"ab+2AA-b", "utf-7")
    with pytest.raises(TextError, match=r"offset 5 .*U\+D800"):
        read_text([first.path, second.path], encoding="utf-7")


@pytest.mark.parametrize("data", [b"short", b"long " * 20], ids=["in memory", "in a file"])
def test_what_can_be_read_only_once_is_kept(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "CHUNK", 10)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    seen: list[tuple[int, int | None]] = []
    text = read_text(["-"], on_progress=lambda _, done, total: seen.append((done, total)))
    assert seen[-1] == (len(data), None)
    for _ in range(3):
        assert "".join(text.chunks()).encode() == data
    assert seen[-1] == (len(data), len(data)), "of a text that was read, the end is known"


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
        read_text(["-"])


def test_a_disk_that_fails_while_a_file_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def fileno(self) -> int:
            return descriptor

        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "a.txt").write_bytes(b"text")
    descriptor = os.open(tmp_path / "a.txt", os.O_RDONLY)
    try:
        monkeypatch.setattr(Path, "open", lambda *_: Failing())
        with pytest.raises(TextError, match=r"^Cannot read '.*a\.txt': input/output error\.$"):
            read_text([str(tmp_path / "a.txt")])
    finally:
        os.close(descriptor)


def test_a_file_in_a_folder_counts_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "CHUNK", 4)
    for name, data in {"a": b"first", "b": b"bad at the end\xff", "c": b"last"}.items():
        (tmp_path / name).write_bytes(data)
    text = read_text([str(tmp_path)])
    assert ("".join(text.chunks()), text.characters, text.bytes) == ("firstlast", 9, 9)


@pytest.mark.parametrize("data", [b"other text", b"tex", b"text and more", b"t\xffxt", None])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    data: bytes | None, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    text = read_text([str(tmp_path / "a.txt")])
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
        paths = [str(tmp_path / name) for name in names]
        read_text(paths, on_progress=lambda _, *told: seen.append(told))  # noqa: B023
        assert seen == expected
