"""Words and pieces: the rule by hand, vocabularies by counting, texts without a place to cut."""

import base64
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers import (
    BpeTokenizer,
    UnigramTokenizer,
    WordTokenizer,
    tokenizer_from_dict,
    train_tokenizer,
)
from charrnn.tokenizers.byte_fallback import (
    BLOCK,
    default_size,
    most_frequent,
    rechunk,
    spread_sample,
)
from charrnn.tokenizers.word import SEPARATOR, unit_pattern

VERSE = "the cat sat on the mat. a dog ran to the hat.\n" * 30
LEARNED = ("word", "bpe", "unigram")


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Don't go,  he said", ["Don't", " go", ",", "  ", "he", " said"]),
        ("\n\nROMEO:\nO!", ["\n\n", "ROMEO", ":", "\n", "O", "!"]),
        ("a  b\t\tc\r\nd", ["a", "  ", "b", "\t\t", "c", "\r", "\n", "d"]),
        ("x == 'y' -- \"z\"", ["x", " ==", " '", "y", "'", " --", ' "', "z", '"']),
        ("foo_bar 3.14", ["foo_bar", " 3", ".", "14"]),
        ("l\u2019homme, e\u0301t\u00e9", ["l\u2019homme", ",", " e\u0301t\u00e9"]),
        ("\u6211\u7231 \u4f60\u3002", ["\u6211", "\u7231", " ", "\u4f60", "\u3002"]),
        ("\u043c\u0438\u0440 \u0915\u093f", ["\u043c\u0438\u0440", " \u0915\u093f"]),
        ("a" * 40, ["a" * 33, "a" * 7]),
    ],
    ids=[
        "words",
        "lines",
        "white space",
        "signs",
        "names and numbers",
        "marks",
        "no spaces",
        "other scripts",
        "long",
    ],
)
def test_a_text_is_cut_into_words_and_what_stands_between(text: str, units: list[str]) -> None:
    assert unit_pattern().findall(text) == units


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_units_are_bounded_and_leave_nothing_out(text: str) -> None:
    units = unit_pattern().findall(text)
    assert "".join(units) == text
    assert all(len(unit) <= 64 for unit in units)


def test_the_vocabulary_of_words_is_the_most_frequent_ones() -> None:
    tokenizer = WordTokenizer.train([VERSE + "once"])
    counts = Counter(unit_pattern().findall(VERSE))
    units = tokenizer.units.split(SEPARATOR)
    assert units == sorted(counts, key=lambda unit: (-counts[unit], unit))
    assert "once" not in units, "what occurs once is spelled"
    assert tokenizer.size == 256 + len(units)
    assert tokenizer.encode("the dog once").tolist() == [
        256 + units.index("the"),
        256 + units.index(" dog"),
        *b" once",
    ]


def test_a_spelled_letter_is_not_the_word_of_that_letter() -> None:
    tokenizer = WordTokenizer.train(["a\na\na"])
    assert tokenizer.decode(tokenizer.encode("a")) == tokenizer.decode([ord("a")]) == "a"
    assert tokenizer.encode("a")[0] >= 256


def test_frequent_characters_beyond_ascii_are_spelled_by_one_symbol() -> None:
    text = "".join(f" \u0436{number}" for number in range(3000)) + " \u00fcx"
    tokenizer = WordTokenizer.train([text])
    assert tokenizer.characters == "\u0436"
    assert tokenizer.encode("\u0436?\u0436").tolist()[-1] == 256
    assert tokenizer.encode("q\u00fc").tolist() == list("q\u00fc".encode())


@pytest.mark.parametrize("kind", LEARNED)
def test_a_vocabulary_has_the_size_that_was_asked_for(kind: str) -> None:
    tokenizer = train_tokenizer(kind, [VERSE], 264)
    assert tokenizer.size == 264
    assert len({tokenizer.spell(id_) for id_ in range(256)}) == 256


@pytest.mark.parametrize("kind", LEARNED)
def test_a_vocabulary_that_the_text_cannot_fill_is_refused_with_what_can_be(kind: str) -> None:
    with pytest.raises(
        UsageError, match=r"`vocab_size` 5000 .*can fill: it has \d+ \w+ symbols\.\nGive .*most"
    ) as caught:
        train_tokenizer(kind, [VERSE], 5000)
    most = int(re.findall(r"\d+", caught.value.hint)[0])
    assert train_tokenizer(kind, [VERSE], most).size == most
    with pytest.raises(UsageError):
        train_tokenizer(kind, [VERSE], most + 1)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_size_does_not_go_with_kinds_that_have_their_own(kind: str) -> None:
    with pytest.raises(UsageError, match=f"`vocab_size` cannot be used with `tokenizer` {kind}"):
        train_tokenizer(kind, [VERSE], 300)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(
    "text", ["\n", "\0\0", "\u2581\u2585 "[:2]], ids=["a line feed", "nul", "reserved"]
)
def test_a_text_without_anything_to_train_on_is_refused(
    kind: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TextError, match=f"too small to train {kind} on"):
        train_tokenizer(kind, [text])
    assert capfd.readouterr() == ("", ""), "nothing of what the library says reaches a person"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_equal_texts_give_equal_models(kind: str) -> None:
    assert train_tokenizer(kind, [VERSE]) == train_tokenizer(kind, iter(VERSE))


def test_pieces_are_put_together_from_the_text_and_never_mix_a_space_behind_something_else() -> (
    None
):
    tokenizer = BpeTokenizer.train([VERSE], 290)
    pieces = [spelling.decode() for spelling in tokenizer.spellings[256:]]
    assert all(piece in VERSE for piece in pieces)
    assert not [piece for piece in pieces if " " in piece.lstrip(" ")]
    assert len(tokenizer.encode(VERSE)) < len(VERSE) / 2


def test_a_sign_that_sentencepiece_keeps_for_itself_costs_its_own_bytes_only() -> None:
    tokenizer = BpeTokenizer.train([VERSE])
    around = tokenizer.encode("the cat").tolist()
    assert tokenizer.encode("the cat\u2581the cat").tolist() == [
        *around,
        *"\u2581".encode(),
        *around,
    ]


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize(
    "character",
    ["a", " ", "\n", "\u4e2d", "\u2581"],
    ids=["a", "space", "line feed", "han", "sign"],
)
def test_a_line_without_end_is_encoded_as_it_comes(kind: str, character: str) -> None:
    """Never is more held back than a block and two units, so little of it is looked at twice."""
    tokenizer = train_tokenizer(kind, [VERSE])
    given = 0

    def chunks() -> Iterator[str]:
        nonlocal given
        for _ in range(250):
            given += 1000
            yield character * 1000

    done = 0
    for ids in tokenizer.encode_chunks(chunks()):
        done += len(tokenizer.decode(ids))
        assert given - done <= BLOCK + 2 * 2048 + 1000
    assert done == given == 250_000


@given(st.lists(st.text(max_size=7)), st.integers(1, 5))
def test_blocks_are_equally_long(chunks: list[str], length: int) -> None:
    blocks = list(rechunk(chunks, length))
    assert "".join(blocks) == "".join(chunks)
    assert all(len(block) == length for block in blocks[:-1])


@pytest.mark.parametrize("blocks", [0, 1, 4, 5, 17, 40])
def test_a_sample_is_spread_evenly_and_bounded(blocks: int) -> None:
    def text() -> Iterator[str]:
        yield from (chr(0x4E00 + number) * BLOCK for number in range(blocks))

    kept, length = spread_sample(text(), 4 * BLOCK)
    numbers = [ord(block[0]) - 0x4E00 for block in kept]
    assert length == blocks * BLOCK
    assert len(kept) <= 4
    assert len(kept) >= min(blocks, 2)
    assert len(set(np.diff(numbers).tolist())) <= 1
    assert not numbers or (numbers[0] == 0 and blocks - numbers[-1] <= max(1, 2 * blocks // 4))


@given(st.dictionaries(st.text(max_size=2), st.integers(1, 9)), st.floats(0, 1))
def test_frequent_entries_are_the_fewest_that_reach_the_share(
    counts: dict[str, int], share: float
) -> None:
    chosen = most_frequent(Counter(counts), share)
    assert sum(counts[entry] for entry in chosen) >= share * sum(counts.values())
    assert sum(counts[entry] for entry in chosen[:-1]) < share * sum(counts.values()) or not chosen
    assert all(
        counts[entry] <= counts[other]
        for entry in counts
        if entry not in chosen
        for other in chosen
    )


def test_vocabularies_grow_with_the_square_root_of_the_text() -> None:
    sizes = [default_size(length, 2, 1 << 14) for length in (1, 10**5, 10**6, 10**7, 10**9)]
    assert sizes == [512, 512, 2048, 8192, 1 << 14]


GOOD = BpeTokenizer.train([VERSE]).model
OTHER = UnigramTokenizer.train([VERSE]).model


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"kind": "byte", "x": "y"}, "needs nothing besides", id="byte and more"),
        pytest.param(
            {"kind": "word", "units": "a"}, '"characters" and "units"', id="no characters"
        ),
        pytest.param(
            {"kind": "word", "characters": "", "units": ["a"]}, "as strings", id="a list of words"
        ),
        pytest.param(
            {"kind": "word", "characters": "", "units": "a\0b\0a"}, "twice", id="a word twice"
        ),
        pytest.param(
            {"kind": "word", "characters": "", "units": "a\0"}, "empty one", id="an empty word"
        ),
        pytest.param(
            {"kind": "word", "characters": "\u0436\u0436", "units": ""},
            "twice",
            id="a character twice",
        ),
        pytest.param(
            {"kind": "word", "characters": "", "units": "a\ud800"}, "surrogate", id="surrogate"
        ),
        pytest.param(
            {"kind": "word", "characters": "", "units": "\0" * (1 << 21)},
            "more than",
            id="too many words",
        ),
        pytest.param({"kind": "bpe"}, '"model"', id="no model"),
        pytest.param({"kind": "bpe", "model": "a!"}, "not base64", id="not base64"),
        pytest.param({"kind": "bpe", "model": "\u0436"}, "not base64", id="not ASCII"),
        pytest.param(
            {"kind": "bpe", "model": "QR=="}, "bytes", id="base64 that was not written so"
        ),
        pytest.param({"kind": "bpe", "model": ""}, "0 bytes", id="an empty model"),
        pytest.param(
            {"kind": "bpe", "model": base64.b64encode(GOOD[:-20]).decode()}, "damaged", id="cut off"
        ),
        pytest.param(
            {"kind": "bpe", "model": base64.b64encode(bytes(99)).decode()}, "damaged", id="zeros"
        ),
    ],
)
def test_a_description_that_is_wrong_is_refused(
    values: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        tokenizer_from_dict(values)
    assert "\n" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def foreign_model() -> bytes:
    """Train a sentencepiece model as its own command would."""
    import io

    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(VERSE.splitlines()),
        model_writer=model,
        vocab_size=30,
        minloglevel=4,
        model_type="bpe",
    )
    return model.getvalue()


def test_another_programs_sentencepiece_model_is_refused() -> None:
    with pytest.raises(ModelFileError, match="does not consist of the 256 bytes and pieces"):
        tokenizer_from_dict({"kind": "bpe", "model": base64.b64encode(foreign_model()).decode()})
