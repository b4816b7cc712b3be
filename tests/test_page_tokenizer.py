"""The page's tokenizers against Python's."""

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from page_scripts import Engine

from charrnn.tokenizers import KINDS, Tokenizer, train_tokenizer

TEXT = (
    "Don't go, he said -- 'tis 1605; the quick brown fox\n\n\tjumps over naïve café dogs.  "
    "def f(x):\n    return x\n Γειά σου Κόσμε, 你好世界。 "
) * 40
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.lists(
    st.sampled_from(
        [*TEXT.split(" "), " ", "  ", "\n", "\u2581", "\u2585", "\0", "\x85", "\x1c", "𝒳", "👍🏽"]
    ),
    max_size=12,
).map("".join)
MANY = settings(max_examples=40)


@cache
def tokenizer(kind: str) -> Tokenizer:
    size = {"word": 300, "bpe": 320, "unigram": 310}.get(kind)
    return train_tokenizer(kind, [TEXT], size)


@cache
def engine(kind: str) -> Engine:
    one = Engine()
    one.tokenizer(tokenizer(kind))
    return one


@pytest.mark.parametrize("kind", KINDS)
@MANY
@given(text=TEXTS)
@example(text="")
@example(text=TEXT[:3000])
@example(text="a\0b \u2581c \u2585 d")
@example(text="x" * 70 + " " * 70 + "\n" * 70)
def test_encodes_as_python_does(kind: str, text: str) -> None:
    assert engine(kind).encode(text) == tokenizer(kind).encode(text).tolist()


@pytest.mark.parametrize("kind", KINDS)
@MANY
@given(data=st.data())
def test_decodes_id_by_id_as_python_does(kind: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer(kind).size - 1), max_size=30))
    decoder = tokenizer(kind).decoder()
    expected = [*(decoder.feed(id_) for id_ in ids), decoder.flush()]
    found = engine(kind).decode(ids)
    # Of bytes that are no text, Python shows some a byte later.
    assert (
        found == expected
        if "\ufffd" not in "".join(expected)
        else "".join(found) == "".join(expected)
    )


@given(data=st.binary(max_size=12))
@MANY
@example(data=b"\xe0\x80\xed\xa0\xf0\x8f\xf4\x90\xc2a\xf0\x9f\x98")
def test_bytes_that_are_no_text_become_what_python_makes_of_them(data: bytes) -> None:
    assert "".join(engine("byte").decode(list(data))) == data.decode(errors="replace")
