"""Reading against bytes written by hand, and every way that a text is refused."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import pty
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.text import Text, read_text
from charrnn.errors import TextError, UsageError

NASTY = (
    "nul\0 crlf\r\n cr\r u2028\u2028 space\u2581 bom\ufeff e\u0301 "
    "\U0001f469\u200d\U0001f680 \x1a\x0c\n\n"
)
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(data: bytes, name: str = "notes.txt") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return write_file


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def whole(text: Text) -> str:
    return "".join(text.chunks())


def read(paths: list[str], **options: Any) -> str:
    return whole(read_text(paths, **options))


# ---- what is read ----


def test_a_file_is_read_as_it_is(write: Write) -> None:
    text = read_text([write(NASTY.encode(), "my.notes.txt")])
    assert whole(text) == NASTY
    assert text.name == "my.notes"
    assert text.sha256 == hashlib.sha256(NASTY.encode()).hexdigest()
    assert [note.split(":")[0] for note in text.notes] == [
        "NUL characters, so perhaps UTF-16 or binary"
    ]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".GZ", gzip.compress),
    ],
)
def test_compressed_files_are_unpacked(
    suffix: str, pack: Callable[[bytes], bytes], write: Write
) -> None:
    plain = read_text([write(b"a\rb")])
    assert read_text([write(pack(b"a\rb"), f"notes.txt{suffix}")]) == plain


def test_several_files_are_joined_in_the_order_given(write: Write) -> None:
    first, second, empty = write(b"one", "b.txt"), write(b"two\n", "a.txt"), write(b"", "c.txt")
    assert read([first, second, first]) == "onetwo\none"
    text = read_text([first, empty, second])
    assert (whole(text), text.name, text.notes) == (
        "onetwo\n",
        "b-and-2-more",
        (f"Empty: {empty!r}.",),
    )


def test_a_byte_order_mark_is_dropped_from_each_start_and_only_there(write: Write) -> None:
    first, second = write("\ufeffa\ufeff".encode()), write("\ufeff\ufeffb".encode(), "b.txt")
    text = read_text([first, second])
    assert whole(text) == "a\ufeff\ufeffb"
    assert text.notes == (f"Byte order mark dropped from the start: {first!r}, {second!r}.",)


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-32", "utf-8-sig", "UTF8"]
)
def test_other_encodings(encoding: str, write: Write) -> None:
    assert (
        read([write("d\u00e9j\u00e0\r\n vu".encode(encoding))], encoding=encoding)
        == "d\u00e9j\u00e0\r\n vu"
    )


def test_a_folder_gives_its_text_files_sorted_by_path(write: Write, tmp_path: Path) -> None:
    write(b"3", "book/z.txt")
    write(b"2", "book/part/b.txt")
    write(gzip.compress(b"1"), "book/a.txt.gz")
    write("\ufeff4".encode(), "book/z2.txt")
    for name in (".git/config", ".hidden", "part/.a", "part/.b"):
        write(b"hidden", f"book/{name}")
    write(b"\x89PNG\r\n", "book/image.png")
    write(b"latin \xe9", "book/latin.txt")
    write(b"MZ\0\0", "book/program.exe")
    (tmp_path / "book" / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "book" / "pipe")
    folder = str(tmp_path / "book")
    text = read_text([folder])
    assert (whole(text), text.name) == ("1234", "book")
    assert text.notes == (
        f"Left out, hidden: '{folder}/.git', '{folder}/.hidden', '{folder}/part/.a' and 1 more"
        " (4 in all).",
        f"Read: '{folder}/a.txt.gz', '{folder}/part/b.txt', '{folder}/z.txt' and 1 more"
        " (4 in all).",
        f"Left out, not UTF-8: '{folder}/image.png', '{folder}/latin.txt'.",
        f"Left out, binary: '{folder}/program.exe'.",
        f"Byte order mark dropped from the start: '{folder}/z2.txt'.",
    )


def test_runs_are_not_texts(write: Write, tmp_path: Path) -> None:
    write(b"text", "book/a.txt")
    write(b"x", "book/run/last.safetensors")
    write(b"{}", "book/run/config.json")
    text = read_text([str(tmp_path / "book")])
    assert whole(text) == "text"
    assert any("Left out, the folder of a run" in note for note in text.notes)
    with pytest.raises(TextError, match="is the folder of a run, not a text"):
        read_text([str(tmp_path / "book" / "run")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one\r\ntwo\r\n", "Windows line ends"),
        (b"{\\rtf1\\ansi Hello}", "Rich text"),
        (b"  <!DOCTYPE html><p>x", "Mark-up"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "Mark-up"),
        (b"\\documentclass{book}", "LaTeX"),
        (b"one\r\ntwo\nthree\nfour\n", None),
        (b"plain <html>", None),
    ],
)
def test_what_is_unusual_is_said(content: bytes, said: str | None, write: Write) -> None:
    notes = [one for one in read_text([write(content)]).notes if "byte order" not in one.lower()]
    assert [note.startswith(said or "?") for note in notes] == ([True] if said else [])


def test_the_current_folder_has_a_name_too(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(b"text", "book.d/a.txt")
    monkeypatch.chdir(tmp_path / "book.d")
    assert read_text(["."]).name == "book.d"


def test_standard_input(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    give_stdin(monkeypatch, "a\r\nb\u2028".encode())
    text = read_text(["-"])
    assert text == Text(
        "stdin",
        hashlib.sha256("a\r\nb\u2028".encode()).hexdigest(),
        characters=5,
        bytes=7,
        notes=text.notes,
    )
    assert text.notes[0].startswith("Windows line ends")
    assert [whole(text), whole(text)] == ["a\r\nb\u2028"] * 2
    give_stdin(monkeypatch, b"b")
    assert read_text(["-", write(b"c")]).name == "stdin-and-1-more"


def test_a_pipe_with_a_slow_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for _ in range(3):
                stream.write(b"drop\r\n")

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert read([str(pipe)]) == "drop\r\n" * 3
    feeder.join()


def test_who_follows_the_reading_is_told_what_is_done_and_how_far_it_is(write: Write) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = write("\u00e9t\u00e9\n".encode() * 200_000)
    text = read_text([path, path], on_progress=lambda *one: told.append(one))
    assert {what for what, _, _ in told} == {"Reading 2.4 MB"}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert (told[-1][1:], text.bytes) == ((2_400_000, 2_400_000), 2_400_000)
    for what in ("Reading", "Encoding the text"):
        told.clear()
        assert len(list(text.chunks(what))) == len(told) > 2
        assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
        assert told[-1] == (what, text.characters, text.characters)


# ---- what is refused ----


def test_a_missing_file_gets_a_suggestion(write: Write, tmp_path: Path) -> None:
    write(b"text", "shakespeare.txt")
    with pytest.raises(
        TextError, match=r"shakspeare\.txt': no such file\.\nDid you mean 'shakespeare\.txt'\?$"
    ):
        read_text([str(tmp_path / "shakspeare.txt")])
    (tmp_path / "link.txt").symlink_to("nowhere")
    with pytest.raises(TextError, match=r"link\.txt': no such file\.$"):
        read_text([str(tmp_path / "link.txt")])
    with pytest.raises(TextError, match=r"no such file\.\nThere is no folder '.*/dta' either\.$"):
        read_text([str(tmp_path / "dta" / "shakespeare.txt")])
    with pytest.raises(TextError, match=r"shakespeare\.txt/x': not a directory\.$"):
        read_text([str(tmp_path / "shakespeare.txt" / "x")])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("x" * 5000, "file name too long", id="too long"),
        pytest.param("a\0b", "embedded null byte", id="nul in the name"),
        pytest.param("/dev/null", "it is a device", id="device"),
        pytest.param("/dev/zero", "it is a device", id="endless device"),
    ],
)
def test_what_cannot_be_opened(path: str, message: str) -> None:
    with pytest.raises(TextError, match=f"^Cannot read '.*{message}"):
        read_text([path])


def test_what_may_not_be_opened(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", "the file")

    path = write(b"text", "locked/notes.txt")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", deny)
        with pytest.raises(TextError, match=r"notes\.txt': permission denied\.$"):
            read_text([path])
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", deny)
        with pytest.raises(TextError, match=r"'the file': permission denied\.$"):
            read_text([str(tmp_path)])
    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(TextError, match=r"no such file\.$"):
        read_text([path + "x"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", r"no text in '.*notes\.txt'\.$", id="empty"),
        pytest.param(
            b" \r\n\t\xe2\x80\xa8 ",
            r"nothing but white space \(6 characters\) in '.*notes\.txt'\.$",
            id="white",
        ),
        pytest.param(b"\xef\xbb\xbf", r"no text in .*\nByte order mark dropped", id="only a mark"),
    ],
)
def test_nothing_to_read(data: bytes, message: str, write: Write) -> None:
    with pytest.raises(TextError, match=message):
        read_text([write(data)])


def test_nothing_to_read_elsewhere(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(b"\xff", "book/image")
    with pytest.raises(
        TextError, match=r"no text in '.*book'\.\nLeft out, not UTF-8: '.*image'\.$"
    ):
        read_text([str(tmp_path / "book")])
    with pytest.raises(TextError, match=r"no text in '.*empty\.xz'\.$"):
        read_text([write(b"", "empty.xz")])
    give_stdin(monkeypatch, b"")
    with pytest.raises(TextError, match=r"no text in standard input\.$"):
        read_text(["-"])


@pytest.mark.parametrize(
    "paths", [[], [""], ["notes.txt", ""]], ids=["none", "empty", "one of them empty"]
)
def test_no_path(paths: list[str]) -> None:
    with pytest.raises(UsageError, match="name of the file is empty"):
        read_text(paths)


@pytest.mark.parametrize(
    ("data", "place", "hint"),
    [
        pytest.param(
            b"one\ntwo\nit\x92s", "0x92 at offset 10 (line 3)", "`encoding` cp1252", id="cp1252"
        ),
        pytest.param(b"caf\xe9", "0xe9 at offset 3 (line 1)", "`encoding` cp1252", id="last byte"),
        pytest.param(
            b"caf\xe9 \x81", "0xe9 at offset 3 (line 1)", "`encoding` latin-1", id="not even cp1252"
        ),
        pytest.param(
            "h\u00e9".encode("utf-16"),
            "0xff at offset 0 (line 1)",
            "`encoding` utf-16",
            id="utf-16",
        ),
        pytest.param(
            "h\u00e9".encode("utf-32"),
            "0xff at offset 0 (line 1)",
            "`encoding` utf-32",
            id="utf-32",
        ),
        pytest.param(
            "\u00e9\n\u20ac".encode()[:-1],
            "0xe2 at offset 3 (line 2)",
            "damaged or cut off",
            id="cut off",
        ),
        pytest.param(b"\xc0\xaf", "0xc0 at offset 0", "cp1252", id="overlong"),
        pytest.param(b"\xed\xa0\x80", "0xed at offset 0", "cp1252", id="encoded surrogate"),
        pytest.param(gzip.compress(b"x"), "0x8b at offset 1", "gzip data", id="gzip"),
        pytest.param(bz2.compress(b"x"), "offset", "bzip2 data", id="bzip2"),
        pytest.param(lzma.compress(b"x"), "0xfd at offset 0", "xz data", id="xz"),
        pytest.param(b"PK\x03\x04\xff", "0xff at offset 4", "zip archive", id="zip"),
        pytest.param(b"%PDF-1.7\n\xff", "offset 9 (line 2)", "PDF", id="pdf"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "0x89 at offset 0", "PNG", id="png"),
        pytest.param(
            b'\x40\0\0\0\0\0\0\0{"w":\xff', "0xff at offset 13", "safetensors", id="safetensors"
        ),
        pytest.param(b"ab\0\xff", "0xff at offset 3", "binary", id="binary"),
    ],
)
def test_what_is_not_utf8_is_located_and_guessed_at(
    data: bytes, place: str, hint: str, write: Write
) -> None:
    with pytest.raises(TextError, match=r"notes\.txt' is not UTF-8: byte 0x") as caught:
        read_text([write(data)])
    assert place in caught.value.message
    assert hint in caught.value.hint


def test_offsets_are_those_of_the_file(write: Write) -> None:
    with pytest.raises(TextError, match="0xff at offset 5 "):
        read_text([write(b"\xef\xbb\xbfab\xff")], encoding="utf-8-sig")
    with pytest.raises(TextError, match="is not ASCII: byte 0xc3 at offset 1 "):
        read_text([write("a\u00e9".encode())], encoding="ascii")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.gz", gzip.compress(b"text" * 99)[:-9], id="gzip cut off"),
        pytest.param("a.gz", gzip.compress(b"text" * 99)[:10] + b"\xff" * 20, id="gzip damaged"),
        pytest.param("a.gz", b"plain text", id="not gzip"),
        pytest.param("a.bz2", bz2.compress(b"text" * 99)[:-9], id="bzip2 cut off"),
        pytest.param("a.bz2", b"plain text", id="not bzip2"),
        pytest.param("a.xz", lzma.compress(b"text" * 99)[:-9], id="xz cut off"),
        pytest.param("a.xz", b"plain text", id="not xz"),
    ],
)
def test_a_damaged_compressed_file(name: str, data: bytes, write: Write, tmp_path: Path) -> None:
    path = write(data, f"book/{name}")
    # in a folder, too: lost text is not left out in silence
    for given_path in (path, str(tmp_path / "book")):
        with pytest.raises(
            TextError, match=rf"Cannot unpack '.*{name}': .+\.\nThe file is damaged"
        ):
            read_text([given_path])


@pytest.mark.parametrize(
    ("encoding", "hint"),
    [
        ("cp-1252x", "cp1252"),
        ("utf-88", "utf"),
        ("rot13", ""),
        ("hex", ""),
        ("\0", "Usual ones"),
        ("qqq", "Usual ones"),
    ],
)
def test_an_encoding_that_does_not_exist(encoding: str, hint: str, write: Write) -> None:
    with pytest.raises(UsageError, match="is not a text encoding that Python knows") as caught:
        read_text([write(b"text")], encoding=encoding)
    assert hint in caught.value.hint


@given(
    data=st.binary(min_size=1, max_size=40),
    encoding=st.sampled_from(
        ["utf-8", "utf-8-sig", "utf-7", "utf-16", "cp932", "idna", "punycode", "hz", "cp1252"]
    ),
)
def test_whatever_bytes_there_are_they_are_text_or_our_error(data: bytes, encoding: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        give_stdin(patch, data)
        try:
            text = read(["-"], encoding=encoding)
        except TextError:
            return
    assert text in (data.decode(encoding), data.decode(encoding)[1:])


def test_surrogates_that_an_encoding_can_spell_are_refused(write: Write) -> None:
    with pytest.raises(TextError, match=r"offset 1 .*U\+D800"):
        read_text([write(b"a+2AA-b")], encoding="utf-7")


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        for path in ("-", os.ttyname(theirs)):
            with pytest.raises(UsageError, match=r"is a terminal\.\nSend it a text"):
                read_text([path])


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        read_text(["-"])
