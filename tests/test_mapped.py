"""Ids on the disk against ids in memory.

And whatever is wrong with the file, it is not believed.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import before_each_call, failing_at, names
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import id_cache
from charrnn.data.id_cache import encode_kept, encode_once, occurrences, take
from charrnn.data.text import Encoded, encode
from charrnn.errors import MachineError, TextError
from charrnn.tokenizers import CharTokenizer

TRAIN, VALID = ["the cat ", "s\u00e4t on ", "the mat"], ["\U0001f408 a hat", " the dog"]
TOKENIZER = CharTokenizer.train(TRAIN)
WIDE = CharTokenizer("".join(map(chr, range(32, 700))))
CHUNKS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1)


def same(
    found: list[Encoded], tokenizer: CharTokenizer = TOKENIZER, parts: Any = (TRAIN, VALID)
) -> bool:
    expected = [encode(tokenizer, "".join(chunks)) for chunks in parts]
    return all(
        (one.characters, one.bytes, one.ids.dtype)
        == (other.characters, other.bytes, other.ids.dtype)
        and np.array_equal(one.ids, other.ids)
        for one, other in zip(found, expected, strict=True)
    )


def not_again() -> Any:
    raise AssertionError("It is encoded again.")


def kept(
    folder: Path, text: str = "text", tokenizer: CharTokenizer = TOKENIZER, opened: Any = not_again
) -> Any:
    return encode_kept(tokenizer, opened, folder / "text.ids", text)


@given(parts=st.lists(CHUNKS, min_size=1, max_size=3), tokenizer=st.sampled_from([TOKENIZER, WIDE]))
def test_ids_of_a_temporary_file_are_those_of_the_tokenizer(
    parts: list[list[str]], tokenizer: CharTokenizer
) -> None:
    found = encode_once(tokenizer, parts)
    assert same(found, tokenizer, parts)
    assert all(isinstance(part.ids, np.memmap) and not part.ids.flags.writeable for part in found)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, WIDE], ids=["one byte", "two bytes"])
def test_ids_are_kept_and_found_again(tokenizer: CharTokenizer, tmp_path: Path) -> None:
    assert same(kept(tmp_path, tokenizer=tokenizer, opened=lambda: (TRAIN, VALID)), tokenizer)
    assert names(tmp_path) == ["text.ids"]
    assert same(kept(tmp_path, tokenizer=tokenizer), tokenizer)


@pytest.mark.parametrize(
    ("text", "tokenizer"), [("other", TOKENIZER), ("text", CharTokenizer.train("other"))]
)
def test_another_text_or_tokenizer_is_encoded_anew(
    text: str, tokenizer: CharTokenizer, tmp_path: Path
) -> None:
    kept(tmp_path, opened=lambda: (TRAIN, VALID))
    assert same(kept(tmp_path, text, tokenizer, lambda: (VALID, TRAIN)), tokenizer, (VALID, TRAIN))


def test_no_flipped_bit_and_no_cut_is_believed(tmp_path: Path) -> None:
    kept(tmp_path, opened=lambda: (TRAIN, VALID))
    path = tmp_path / "text.ids"
    good = path.read_bytes()
    damaged = [
        good[:index] + bytes([good[index] ^ 1 << index % 8]) + good[index + 1 :]
        for index in range(len(good))
    ]
    damaged += [good[:length] for length in range(len(good))] + [
        good + b"\n",
        b"\0" + good,
        bytes(len(good)),
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(AssertionError, match="again"):
            kept(tmp_path)
    assert same(kept(tmp_path, opened=lambda: (TRAIN, VALID)))
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["parts"].reverse(),
        lambda record: record["parts"].pop(),
        lambda record: record["parts"].append([-3, 0, 0]),
        lambda record: record.update(parts=None),
        lambda record: record.update(parts=[["a", "b", "c"]]),
        lambda record: record.update(crc32="0"),
        lambda record: record.pop("key"),
        lambda record: record.update(more=1),
        lambda record: record["parts"][0].__setitem__(1, 999),
    ],
)
def test_no_record_that_does_not_fit_is_believed(
    change: Callable[[Any], Any], tmp_path: Path
) -> None:
    kept(tmp_path, opened=lambda: (TRAIN, VALID))
    path = tmp_path / "text.ids"
    ids, _, line = path.read_bytes().rpartition(b"\n")
    record = json.loads(line)
    change(record)
    path.write_bytes(ids + b"\n" + json.dumps(record).encode())
    with pytest.raises(AssertionError, match="again"):
        kept(tmp_path)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"1", b"null", b"[" * 900, b"\xff", b"x" * 5000]
)
def test_no_foreign_file_is_believed(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "text.ids").write_bytes(b"ids\n" + line)
    with pytest.raises(AssertionError, match="again"):
        kept(tmp_path)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TextError("The text has changed.")], ids=["Ctrl-C", "changed"]
)
def test_an_interrupted_encoding_leaves_what_was_there(
    error: BaseException, tmp_path: Path
) -> None:
    def interrupted() -> Iterator[str]:
        yield "the d"
        raise error

    for before in ([], ["text.ids"]):
        with pytest.raises(type(error)):
            kept(tmp_path, "other", opened=lambda: (TRAIN, interrupted()))
        assert names(tmp_path) == before
        kept(tmp_path, opened=lambda: (TRAIN, VALID))
    assert same(kept(tmp_path))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_whichever_call_fails_the_old_file_or_the_new_one_is_there(
    error: int, tmp_path: Path
) -> None:
    for number in range(1, 30):
        with suppress(MachineError), before_each_call(failing_at(number, error)):
            kept(tmp_path, str(number % 2), opened=lambda: (TRAIN, VALID))
            break
        assert names(tmp_path) in ([], ["text.ids"])
    assert number > 7
    assert same(kept(tmp_path, str(number % 2)))


def test_a_disk_without_room_for_a_temporary_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        MachineError,
        match=r"Cannot keep the encoded text in .*: No space left on device\.\nSet TMPDIR",
    ):
        encode_once(TOKENIZER, [TRAIN])


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "text.ids")
    with pytest.raises(MachineError, match="is a pipe"):
        kept(tmp_path)


@pytest.mark.parametrize(
    "make", [lambda ids: ids, lambda ids: encode_once(WIDE, [WIDE.decode(ids)])[0].ids]
)
def test_taking_and_counting_are_what_numpy_says(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_cache, "CHUNK", 7)
    ids = np.random.default_rng(0).integers(1, 5, 100).astype(np.uint16)
    stored, places = make(ids), np.array([[0, 99, 3], [50, 50, 1]])
    for _ in range(2):  # what was given back to the system is there again
        assert take(stored, places).tolist() == ids[places].tolist()
        assert take(stored, places).dtype == np.int64
        assert [occurrences(stored, symbol) for symbol in range(6)] == np.bincount(
            ids, minlength=6
        ).tolist()
