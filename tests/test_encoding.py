"""A text as ids: what is counted on the way, and what is unknown."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import encoding, formats
from charrnn.data.encoding import (
    EncodedSize,
    count,
    encode_text,
    refuse_unknown,
    unknown_characters,
    write_ids,
)
from charrnn.data.formats import PLAIN, RecordFormat, TextFormat
from charrnn.data.mapped import take
from charrnn.errors import TextError
from charrnn.tokenizers import CharTokenizer, Tokenizer, WordTokenizer
from charrnn.tokenizers.byte import ByteTokenizer

CHUNKS = st.lists(st.text("ab \n\u00e9\U0001f680"))
KINDS = [CharTokenizer.train("ab \n"), ByteTokenizer(), WordTokenizer.train(["ab ba\na b " * 9])]
FORMATS = [PLAIN, RecordFormat("\n"), RecordFormat(" \n")]


@given(
    chunks=CHUNKS,
    tokenizer=st.sampled_from(KINDS),
    form=st.sampled_from(FORMATS),
    block=st.sampled_from([1, 5, 1 << 20]),
)
def test_what_is_written_is_the_ids_and_its_size_that_of_the_text(
    chunks: list[str], tokenizer: Tokenizer, form: TextFormat, block: int
) -> None:
    units, pieces = list(form.units(chunks)), list[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "BLOCK", block)
        if form.separator and not units:
            with pytest.raises(TextError, match="no record in the text"):
                write_ids(tokenizer, units, form, pieces.append)
            return
        size, starts = write_ids(tokenizer, iter(units), form, pieces.append)
    text, ids = "".join(units), np.frombuffer(b"".join(pieces), tokenizer.dtype)
    alone = [tokenizer.encode(unit) for unit in (units if form.separator else [text])]
    assert ids.tolist() == np.concatenate(alone).tolist()
    assert size == EncodedSize(
        ids=len(ids),
        characters=len(text),
        bytes=len(text.encode()),
        records=len(units) if form.separator else 0,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    if form.separator is None:
        assert starts is None
        return
    assert starts is not None
    assert starts.tolist() == np.cumsum([0, *map(len, alone)])[:-1].tolist()


@given(chunks=CHUNKS, tokenizer=st.sampled_from(KINDS), form=st.sampled_from(FORMATS))
def test_a_text_in_memory_is_encoded_alike(
    chunks: list[str], tokenizer: Tokenizer, form: TextFormat
) -> None:
    text = "".join(chunks)
    if not "".join(form.units(chunks)):
        return
    size, starts = write_ids(tokenizer, form.units(chunks), form, lambda _: None)
    found = encode_text(tokenizer, text, form)
    assert found.ids.dtype == tokenizer.dtype
    assert (found.starts is None) == (starts is None)
    assert starts is None or np.array_equal(starts, found.starts)
    assert (len(found.ids), found.characters, found.bytes, found.sha256) == (
        *(size.ids, size.characters, size.bytes),
        size.sha256,
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encoded_has_the_sizes_of_the_original(text: str) -> None:
    encoded = encode_text(CharTokenizer.train("abc"), text)
    assert encoded.characters == len(encoded.ids) == len(text)
    assert encoded.bytes == sum(len(character.encode("utf-8")) for character in text)
    assert encoded.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("form", FORMATS, ids=["plain", "lines", "records"])
def test_a_surrogate_cannot_be_encoded(form: TextFormat) -> None:
    with pytest.raises(TextError, match=r"U\+D800"):
        encode_text(KINDS[0], "ab\n\ud800 \n", form)


# ---- what is unknown ----


@given(chunks=st.lists(st.text("abc\u00e9\U0001f680")))
def test_unknown_characters_are_told_once_and_in_order(chunks: list[str]) -> None:
    expected = [character for character in dict.fromkeys("".join(chunks)) if character not in "ab"]
    tokenizer = CharTokenizer.train("ab")
    assert unknown_characters(tokenizer, chunks) == expected
    if not expected:
        refuse_unknown(tokenizer, chunks, "text")
        return
    with pytest.raises(TextError, match=f"^The text has {len(expected)} character") as caught:
        refuse_unknown(tokenizer, chunks, "text")
    assert repr(expected[0]) in caught.value.message
    assert "`unknown` charge" in caught.value.hint


# ---- ids, in memory or mapped ----


def mapped(ids: np.ndarray, folder: Path) -> np.ndarray:
    ids.tofile(folder / "ids")
    return np.memmap(folder / "ids", ids.dtype, "r")


@pytest.mark.parametrize("make", [lambda ids, _: ids, mapped], ids=["in memory", "mapped"])
def test_taking_and_counting_are_what_numpy_says(
    make: Callable[[np.ndarray, Path], np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 7)
    ids = np.random.default_rng(0).integers(1, 5, 100).astype(np.uint16)
    stored, places = make(ids, tmp_path), np.array([[0, 99, 3], [50, 50, 1]])
    for _ in range(2):  # what was given back to the system is there again
        assert take(stored, places).tolist() == ids[places].tolist()
        assert take(stored, places).dtype == np.int64
        found = [count(stored, symbol) for symbol in range(6)]
        assert found == np.bincount(ids, minlength=6).tolist()
