"""Ids against Python's own `ord`, `sorted` and `set`, and hostile descriptions of tokenizers."""

import json
import math
import sys
from functools import cache, partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers import (
    KINDS,
    CharTokenizer,
    Tokenizer,
    byte_fallback,
    tokenizer_from_dict,
    train_tokenizer,
)
from charrnn.tokenizers.base import MAX_SIZE

ENTRIES = ["kind", "characters", "units", "model", "x"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NASTY = {
    "nul": "a\0b",
    "line separator": "a\u2028b\u2029",
    "sentencepiece's space": "\u2581a b",
    "byte order mark inside": "a\ufeffb",
    "combining marks": "e\u0301 \u00e9",
    "emoji joined": "\U0001f469\u200d\U0001f680",
    "crlf": "a\r\nb",
    "lone cr": "a\rb\r",
    "replacement character": "\ufffd?",
    "ends of the planes": "\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "literal symbols": "<unk></s>\t  <s> <0x41> <0xE2><pad>",
    "sentencepiece's own signs": "\u2585\u2047 \u2581\u2581",
    "white space only": " \t\t\n\n\n   \u00a0\u3000",
    "a word without end": "a" * 5000,
    "spaces without end": " " * 5000,
    "no spaces": "\u4e2d\u6587" * 1500,
    "scripts": "\u0915\u093f\u0924\u093e\u092c \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 "
    "l'homme d\u2019affaires \U00010330",
}


def model_of(text: str) -> dict[str, int]:
    """Give each character its id in the plainest way there is."""
    return {character: i for i, character in enumerate(sorted(set(text)), start=1)}


BASE = "the cat sat on the mat. a dog ran to the hat.\n"


@cache
def trained(kind: str, text: str) -> Tokenizer:
    """Train on a text that has something to learn from for every kind, and on `text`."""
    return train_tokenizer(kind, [BASE * 3 + text])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_nasty_text_comes_back(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    together = text.join(NASTY.values())
    if tokenizer.unknown is None:
        assert tokenizer.decode(tokenizer.encode(together)) == together


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_every_text_comes_back_also_through_json(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    read_back = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert (read_back, read_back.size) == (tokenizer, tokenizer.size)
    assert read_back.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_the_characters_that_symbols_begin_add_up_to_the_texts(kind: str, text: str) -> None:
    tokenizer = trained(kind, "")
    assert tokenizer.characters_begun.shape == (tokenizer.size,)
    assert tokenizer.characters_begun[tokenizer.encode(text)].sum() == len(text)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "char"])
@given(text=TEXTS)
def test_to_all_kinds_but_char_nothing_is_unknown(kind: str, text: str) -> None:
    tokenizer = trained(kind, "")
    assert (tokenizer.unknown, tokenizer.unknown_nats, tokenizer.unknown_characters(text)) == (
        None,
        0,
        [],
    )
    ids = tokenizer.encode(text)
    assert ids.dtype == np.min_scalar_type(tokenizer.size)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.spell(id_) for id_ in ids.tolist()) == text.encode()


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=TEXTS.filter(bool), cuts=st.lists(st.integers(0, 50)), length=st.sampled_from([3, 1 << 16])
)
def test_where_a_text_is_cut_makes_no_difference(
    kind: str, text: str, cuts: list[int], length: int
) -> None:
    """Also where blocks are so short that nearly every word is cut by them."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [text[begin:end] for begin, end in pairwise(places)]
    tokenizer = trained(kind, text)
    assert tokenizer == train_tokenizer(kind, [BASE * 3, *chunks])
    whole = tokenizer.encode(text).tolist()
    with patch(
        "charrnn.tokenizers.byte_fallback.rechunk",
        partial(byte_fallback.rechunk, length=length),
    ):
        assert np.concatenate([*tokenizer.encode_chunks(chunks)]).tolist() == whole


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_symbols_decoded_one_by_one_make_the_text(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    decoder = tokenizer.decoder()
    pieces = [decoder.feed(symbol) for symbol in tokenizer.encode(text).tolist()]
    assert "\ufffd" in text or "\ufffd" not in "".join(pieces), "half of a character was shown"
    assert "".join([*pieces, decoder.flush()]) == text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "char"])
@given(ids=st.lists(st.integers(0, 255)))
def test_bytes_that_are_no_text_are_shown_as_python_shows_them(kind: str, ids: list[int]) -> None:
    tokenizer = trained(kind, "")
    decoder = tokenizer.decoder()
    expected = bytes(ids).decode(errors="replace")
    assert tokenizer.decode(ids) == expected
    assert "".join([*map(decoder.feed, ids), decoder.flush()]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_outside_the_vocabulary_is_refused(kind: str) -> None:
    tokenizer = trained(kind, "")
    for wrong in (-1, tokenizer.size):
        with pytest.raises(
            UsageError,
            match=rf"Id {wrong} is outside the vocabulary: ids are 0 to {tokenizer.size - 1}",
        ):
            tokenizer.decode([0, wrong])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "ab\udcff"], ids=["nothing", "a lone surrogate"])
def test_what_cannot_be_learned_from_is_refused(kind: str, text: str) -> None:
    with pytest.raises(TextError, match="empty" if not text else r"offset 2 .*U\+DCFF"):
        train_tokenizer(kind, [text])
    if text:
        with pytest.raises(TextError, match=r"U\+DCFF"):
            trained(kind, "").encode(text)


@pytest.mark.parametrize("kind", KINDS)
@given(
    values=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(ENTRIES), inner),
    )
)
def test_any_json_gives_a_tokenizer_or_our_error(kind: str, values: Any) -> None:
    if isinstance(values, dict):
        values["kind"] = kind
    try:
        tokenizer = tokenizer_from_dict(values)
    except ModelFileError:
        return
    assert tokenizer.to_dict() == values


@given(train=TEXTS.filter(bool), text=TEXTS)
def test_char_ids_are_those_of_a_dictionary(train: str, text: str) -> None:
    tokenizer, ids = CharTokenizer.train(train), model_of(train)
    assert tokenizer.size == len(ids) + 1
    assert tokenizer.encode(text).tolist() == [ids.get(character, 0) for character in text]


@given(train=TEXTS.filter(bool), text=TEXTS)
def test_unknown_characters_are_named_in_order_and_decode_to_the_replacement(
    train: str, text: str
) -> None:
    tokenizer = CharTokenizer.train(train)
    assert tokenizer.unknown_characters(text) == list(
        dict.fromkeys(c for c in text if c not in train)
    )
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(
        c if c in train else "\ufffd" for c in text
    )


@given(old=TEXTS.filter(bool), new=TEXTS)
def test_extending_keeps_every_id_and_appends_the_rest_sorted(old: str, new: str) -> None:
    before = CharTokenizer.train(old)
    after = before.extended(new)
    assert after.encode(old).tolist() == before.encode(old).tolist()
    assert after.characters[len(before.characters) :] == "".join(sorted(set(new) - set(old)))
    assert after.unknown_characters(old + new) == []


@pytest.mark.parametrize(
    ("size", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)]
)
def test_ids_have_the_smallest_type_that_holds_the_size_too(size: int, dtype: type) -> None:
    tokenizer = CharTokenizer(
        "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)][: size - 1]))
    )
    assert tokenizer.size == size
    assert tokenizer.encode(tokenizer.characters).dtype == dtype
    assert tokenizer.decode(tokenizer.encode(tokenizer.characters)) == tokenizer.characters


def test_unknown_costs_a_uniform_choice_among_all_other_code_points() -> None:
    encodable = sum(not 0xD800 <= point <= 0xDFFF for point in range(sys.maxunicode + 1))
    assert CharTokenizer("abc").unknown_nats == pytest.approx(math.log(encodable - 3), rel=1e-15)
    everything = "".join(
        chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF
    )
    assert CharTokenizer(everything).unknown_nats == 0
    assert tokenizer_from_dict({"kind": "char", "characters": everything}).size < MAX_SIZE


def test_decode_takes_lists_arrays_and_nothing() -> None:
    tokenizer = CharTokenizer("ba")
    assert tokenizer.decode([1, 2, 0]) == "ba\ufffd"
    assert tokenizer.decode(np.array([2, 2], dtype=np.int64)) == "aa"
    assert tokenizer.decode([]) == tokenizer.decode(tokenizer.encode("")) == ""


@pytest.mark.parametrize(("ids", "wrong"), [([1, 3], "3"), ([-1, 1], "-1")])
def test_decode_refuses_an_id_outside_the_vocabulary(ids: list[int], wrong: str) -> None:
    with pytest.raises(UsageError, match=rf"Id {wrong} is outside .* 0 to 2\.$"):
        CharTokenizer("ab").decode(ids)


@pytest.mark.parametrize(
    "use",
    [
        lambda text: CharTokenizer.train([text]),
        CharTokenizer("a").extended,
        CharTokenizer("a").encode,
    ],
)
def test_a_lone_surrogate_is_refused_with_its_place(use: Any) -> None:
    with pytest.raises(TextError, match=r"offset 2 .*U\+DCFF"):
        use("ab\udcff")


def test_training_needs_text_and_a_known_kind() -> None:
    with pytest.raises(TextError, match="empty"):
        train_tokenizer("char", "")
    with pytest.raises(UsageError, match=r"not 'chat'\.\nDid you mean 'char'\?"):
        train_tokenizer("chat", "text")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(None, "type NoneType", id="nothing"),
        pytest.param(["char"], "type list", id="a list"),
        pytest.param({}, "kind None", id="no kind"),
        pytest.param({"kind": ["char"], "characters": "ab"}, "kind", id="kind of another type"),
        pytest.param({"kind": "x" * 10_000, "characters": "ab"}, r"kind 'x{1,60};", id="long kind"),
        pytest.param({"kind": "char"}, '"characters", a string', id="no characters"),
        pytest.param(
            {"kind": "char", "characters": ["a", "b"]}, "a string", id="a list of characters"
        ),
        pytest.param(
            {"kind": "char", "characters": "ab", "path": "/etc"}, "one entry", id="one entry more"
        ),
        pytest.param({"kind": "char", "characters": ""}, "has 0 characters", id="empty"),
        pytest.param(
            {"kind": "char", "characters": "a" * MAX_SIZE}, "2,097,152 characters", id="too many"
        ),
        pytest.param({"kind": "char", "characters": "aba"}, "twice", id="a character twice"),
        pytest.param({"kind": "char", "characters": "a\ud800"}, "surrogate", id="first surrogate"),
        pytest.param({"kind": "char", "characters": "a\udfff"}, "surrogate", id="last surrogate"),
    ],
)
def test_a_description_that_is_wrong_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        tokenizer_from_dict(values)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
        | st.text("ab\u00e9", max_size=9)
    )
)
def test_pieces_of_ascii_and_of_more_are_learned_and_encoded_alike(chunks: list[str]) -> None:
    text = "".join(chunks) or "a"
    tokenizer = CharTokenizer.train([*chunks, "" if "".join(chunks) else "a"])
    assert tokenizer.characters == "".join(sorted(set(text)))
    assert np.concatenate([*tokenizer.encode_chunks(chunks), []]).tolist() == [
        tokenizer.characters.index(character) + 1 for character in "".join(chunks)
    ]


def test_ascii_is_encoded_beside_more_symbols_than_bytes_can_count() -> None:
    far = CharTokenizer(
        "".join(map(chr, [*range(0x4E00, 0x4F00), *range(97, 123)]))
    )  # "a" is beyond 255
    near = CharTokenizer("".join(map(chr, [*range(97, 123), *range(0x4E00, 0x4F00)])))
    assert far.encode("abz?").tolist() == [257, 258, 282, 0]
    assert near.encode("abz?").tolist() == [1, 2, 26, 0]
    assert near.encode("abz?").dtype == far.encode("abz?").dtype == np.uint16
