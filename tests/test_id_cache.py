"""Ids on the disk against ids in memory; whatever is wrong with the file, it is not believed."""

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from io_faults import before_each_call, failing_at, names

from charrnn.data import id_cache
from charrnn.data.encoding import Encoded, EncodedSplit, encode_text
from charrnn.data.formats import PLAIN, RecordFormat, TextFormat
from charrnn.data.id_cache import encode_cached, encode_to_tempfile, encode_uncached
from charrnn.data.split import TextPart, TextSplit, split_text
from charrnn.data.text import Text, read_text
from charrnn.errors import MachineError, TextError
from charrnn.tokenizers import CharTokenizer, Tokenizer

TRAIN, VALID = ["the cat ", "s\u00e4t on ", "the mat"], ["\U0001f408 a hat", " the dog"]
LINES = RecordFormat("\n")
TOKENIZER = CharTokenizer.train(TRAIN)
WIDE = CharTokenizer("".join(map(chr, range(32, 700))))
CHUNKS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1)


class FakeFile:
    """Stands for the files of a text: its chunks, or what raises an error after some of them."""

    def __init__(self, chunks: Iterable[str], error: BaseException | None = None) -> None:
        self._chunks, self._error = list(chunks), error

    def chunks(self) -> Iterator[str]:
        yield from self._chunks
        if self._error is not None:
            raise self._error


UNREADABLE = AssertionError("It is encoded again.")


def text_of(chunks: Iterable[str], error: BaseException | None = None) -> Text:
    file: Any = FakeFile(chunks, error)
    whole = "".join(file._chunks)
    sizes = len(whole), len(whole.encode())
    return Text("text", sha256(whole.encode()).hexdigest(), *sizes, files=(file,))


def part_of(chunks: Iterable[str], form: TextFormat = PLAIN) -> TextPart:
    return TextPart.whole(text_of(chunks), form)


def split_of(
    train: Iterable[str] = TRAIN,
    valid: Iterable[str] = VALID,
    form: TextFormat = PLAIN,
    error: BaseException | None = None,
) -> TextSplit:
    """Return a split of two texts, of which reading the second may end with an error."""
    return split_text(text_of(train), form, 0.0, text_of(valid, error))


def unreadable(split: TextSplit) -> TextSplit:
    """Return the same split, except that it cannot be read."""
    parts = (replace(part, text=text_of([], UNREADABLE)) for part in (split.train, split.valid))
    return replace(split, **dict(zip(("train", "valid"), parts, strict=True)))


def same(
    found: EncodedSplit, tokenizer: Tokenizer = TOKENIZER, split: TextSplit | None = None
) -> bool:
    split = split or split_of()
    parts = zip((found.train, found.valid), (split.train, split.valid), strict=True)
    return (found.name, found.sha256, found.format, found.tokenizer) == (
        *(split.name, split.sha256),
        *(split.format, tokenizer),
    ) and all(
        same_ids(one, encode_text(tokenizer, part.read(), part.format)) for one, part in parts
    )


def same_ids(one: Encoded, other: Encoded) -> bool:
    facts = [
        (text.characters, text.bytes, text.sha256, text.ids.dtype, text.starts is None)
        for text in (one, other)
    ]
    places = [[] if text.starts is None else text.starts.tolist() for text in (one, other)]
    return (facts[0], places[0]) == (facts[1], places[1]) and np.array_equal(one.ids, other.ids)


def kept(
    folder: Path, split: TextSplit | None = None, tokenizer: Tokenizer = TOKENIZER
) -> EncodedSplit:
    """Return ids that are kept; without a split, the usual one's, which is not read again."""
    return encode_cached(tokenizer, split or unreadable(split_of()), folder / "text.ids")


@given(chunks=CHUNKS, tokenizer=st.sampled_from([TOKENIZER, WIDE]), lines=st.booleans())
def test_ids_of_a_temporary_file_are_those_of_the_tokenizer(
    chunks: list[str], tokenizer: CharTokenizer, lines: bool
) -> None:
    part = part_of(chunks, LINES if lines else PLAIN)
    if not part.read():
        return
    found = encode_to_tempfile(tokenizer, part)
    assert same_ids(found, encode_text(tokenizer, part.read(), part.format))
    assert isinstance(found.ids, np.memmap)
    assert not found.ids.flags.writeable


@pytest.mark.parametrize("form", [PLAIN, LINES], ids=["plain", "lines"])
@pytest.mark.parametrize("tokenizer", [TOKENIZER, WIDE], ids=["one byte", "two bytes"])
def test_ids_are_kept_and_found_again(
    tokenizer: CharTokenizer, form: TextFormat, tmp_path: Path
) -> None:
    split = split_of(["the c", "at\nsat", "\n\non"], ["\U0001f408 a hat\n", " a dog"], form)
    assert same(kept(tmp_path, split, tokenizer), tokenizer, split)
    assert names(tmp_path) == ["text.ids"]
    assert same(kept(tmp_path, unreadable(split), tokenizer), tokenizer, split)
    assert same(encode_uncached(tokenizer, split), tokenizer, split)
    assert names(tmp_path) == ["text.ids"]


def test_the_purpose_of_each_reading_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "a.txt").write_text("the cat sat on\n" * 9)
    text = read_text([str(tmp_path / "a.txt")], on_progress=lambda what, *_: told.append(what))
    split = split_text(text, LINES, 0.5, text)
    expected = ["Encoding the training text", "Encoding the validation text"]
    for encode in (encode_uncached, lambda *both: kept(tmp_path, both[1], both[0])):
        told.clear()
        encode(TOKENIZER, split)
        assert list(dict.fromkeys(told)) == expected
    told.clear()
    kept(tmp_path, split)
    encode_to_tempfile(TOKENIZER, split.train)
    assert set(told) == {"Encoding the text"}


@pytest.mark.parametrize(
    ("split", "tokenizer"),
    [
        (split_of(VALID, TRAIN), TOKENIZER),
        (split_of(TRAIN, VALID[:1]), TOKENIZER),
        (split_of(), CharTokenizer.train("other")),
        (split_of(form=RecordFormat("t")), TOKENIZER),
    ],
    ids=["text", "held-out text", "tokenizer", "format"],
)
def test_another_text_or_tokenizer_is_encoded_anew(
    split: TextSplit, tokenizer: CharTokenizer, tmp_path: Path
) -> None:
    kept(tmp_path, split_of())
    assert same(kept(tmp_path, split, tokenizer), tokenizer, split)


def test_another_place_to_split_is_encoded_anew(tmp_path: Path) -> None:
    text = text_of(["abcde", "fghij"])
    kept(tmp_path, split_text(text, PLAIN, 0.5))
    split = split_text(text, PLAIN, 0.4)
    assert kept(tmp_path, split).train.characters == 6


def test_a_file_of_another_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert id_cache.VERSION == 3
    kept(tmp_path, split_of())
    monkeypatch.setattr(id_cache, "VERSION", 4)
    with pytest.raises(AssertionError, match="again"):
        kept(tmp_path)


def test_no_flipped_bit_and_no_cut_is_believed(tmp_path: Path) -> None:
    kept(tmp_path, split_of())
    path = tmp_path / "text.ids"
    good = path.read_bytes()
    damaged = [
        good[:index] + bytes([good[index] ^ 1 << index % 8]) + good[index + 1 :]
        for index in range(len(good))
    ]
    damaged += [good[:length] for length in range(len(good))]
    damaged += [good + b"\n", b"\0" + good, bytes(len(good))]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(AssertionError, match="again"):
            kept(tmp_path)
    assert same(kept(tmp_path, split_of()))
    assert path.read_bytes() == good


def test_no_last_line_that_does_not_fit_is_believed(tmp_path: Path) -> None:
    kept(tmp_path, split_of())
    path = tmp_path / "text.ids"
    ids, _, line = path.read_bytes().rpartition(b"\n")
    first = json.loads(line)["parts"][0]
    assert first == {
        "ids": 22,
        "characters": 22,
        "bytes": 23,
        "records": 0,
        "sha256": sha256("".join(TRAIN).encode()).hexdigest(),
    }
    changes: list[Callable[[Any], Any]] = [
        lambda trailer: trailer["parts"].reverse(),
        lambda trailer: trailer["parts"].pop(),
        lambda trailer: trailer["parts"].append(first | {"ids": 0}),
        lambda trailer: trailer["parts"].append(first | {"ids": -3}),
        lambda trailer: trailer["parts"].append([0, 0, 0, 0, ""]),
        lambda trailer: trailer.update(parts=None),
        lambda trailer: trailer.update(parts=[dict.fromkeys(first, "a")]),
        lambda trailer: trailer.update(parts=[first | {"more": 1}]),
        lambda trailer: trailer["parts"][0].pop("bytes"),
        lambda trailer: trailer["parts"][0].update(characters=999),
        lambda trailer: trailer["parts"][0].update(sha256="0" * 64),
        lambda trailer: trailer.update(crc32="0"),
        lambda trailer: trailer.pop("key"),
        lambda trailer: trailer.update(more=1),
    ]
    for change in changes:
        trailer = json.loads(line)
        change(trailer)
        path.write_bytes(ids + b"\n" + json.dumps(trailer).encode())
        with pytest.raises(AssertionError, match="again"):
            kept(tmp_path)
    path.write_bytes(ids + b"\n" + line)
    assert same(kept(tmp_path))


def test_no_foreign_file_is_believed(tmp_path: Path) -> None:
    for line in (b"", b"{}", b"[]", b"1", b"null", b"[" * 1900, b"\xff", b"x" * 5000):
        (tmp_path / "text.ids").write_bytes(b"ids\n" + line)
        with pytest.raises(AssertionError, match="again"):
            kept(tmp_path)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TextError("The text has changed.")], ids=["Ctrl-C", "changed"]
)
def test_an_interrupted_encoding_leaves_what_was_there(
    error: BaseException, tmp_path: Path
) -> None:
    for before in ([], ["text.ids"]):
        with pytest.raises(type(error)):
            kept(tmp_path, split_of(VALID, ["the d"], error=error))
        assert names(tmp_path) == before
        kept(tmp_path, split_of())
    assert same(kept(tmp_path))


@pytest.mark.parametrize("form", [PLAIN, LINES], ids=["plain", "lines"])
def test_a_text_that_changes_is_not_kept(form: TextFormat, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "text.txt").write_text("one\ntwo\nthree\nfour\n")
    split = split_text(read_text([str(tmp_path / "text.txt")]), form, 0.3)
    for change in ("One\ntwo\nthree\nfour\n", "one\ntwo\nthree\nfive\n", "one\n"):
        (tmp_path / "text.txt").write_text(change)
        with pytest.raises(TextError, match="was changed while it was read"):
            kept(tmp_path / "run", split)
        with pytest.raises(TextError, match="was changed while it was read"):
            encode_uncached(TOKENIZER, split)
        assert names(tmp_path / "run") == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_whichever_call_fails_the_old_file_or_the_new_one_is_there(
    error: int, tmp_path: Path
) -> None:
    splits = split_of(), split_of(VALID, TRAIN)
    for number in range(1, 30):
        with suppress(MachineError), before_each_call(failing_at(number, error)):
            kept(tmp_path, splits[number % 2])
            break
        assert names(tmp_path) in ([], ["text.ids"])
    assert number > 7
    kept(tmp_path, unreadable(splits[number % 2]))


def test_a_file_that_cannot_be_read_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(id_cache, "_map_ids", fail)
    with pytest.raises(MachineError, match=r"Cannot read .*text\.ids: Input/output error"):
        kept(tmp_path, split_of())


def test_a_disk_without_room_for_a_temporary_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        MachineError,
        match=r"Cannot keep the encoded text in .*: No space left on device\.\nSet TMPDIR",
    ):
        encode_to_tempfile(TOKENIZER, part_of(TRAIN))


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "text.ids")
    with pytest.raises(MachineError, match="is a pipe"):
        kept(tmp_path)
