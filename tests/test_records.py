"""Texts that consist of records.

Cutting, dividing, encoding, and scoring each from a state of zero.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.data.id_cache import encode_kept, encode_once
from charrnn.data.records import cut_records, encode_text, saved_separator, separator_of, survey
from charrnn.data.text import Encoded
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.evaluation.scoring import ScoringProtocol, evaluate
from charrnn.model.network import CharRNN, build
from charrnn.tokenizers import CharTokenizer, Tokenizer, WordTokenizer

TEXTS = st.text(alphabet="ab \n|", max_size=60)
SEPARATORS = st.text(alphabet="ab\n|", min_size=1, max_size=3)


def records_of(text: str, separator: str = "\n") -> list[str]:
    return list(cut_records([text], separator))


def divide(text: str, share: float, separator: str = "\n") -> tuple[str, str]:
    sides = survey([text], separator, "names").divided(share)
    parts = "".join(sides.training([text])), "".join(sides.validating([text]))
    assert sides.train == len(parts[0])
    return parts


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, None),
        ("lines", "\n"),
        (r"\n\n", "\n\n"),
        ("<|end|>", "<|end|>"),
        (r"\t\r\f\0", "\t\r\f\0"),
        (r"\\n", r"\n"),
        (r"\section", r"\section"),
        ("\n", "\n"),
        ("行", "行"),
    ],
    ids=repr,
)
def test_the_separator_that_a_setting_names(given_: str | None, expected: str | None) -> None:
    assert separator_of(given_) == expected


def test_an_empty_separator_is_refused() -> None:
    with pytest.raises(UsageError, match="--records needs a separator, but it is empty"):
        separator_of("")


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("anna\nbob\n", "\n", ["anna\n", "bob\n"]),
        ("anna\nbob", "\n", ["anna\n", "bob\n"]),
        ("anna\n\n \nbob\n\n", "\n", ["anna\n", "bob\n"]),
        ("a\r\nb\r\n", "\n", ["a\r\n", "b\r\n"]),
        ("one\ntwo\n\nthree\n", "\n\n", ["one\ntwo\n\n", "three\n\n"]),
        ("one<|end|>two<|e", "<|end|>", ["one<|end|>", "two<|end|>"]),
        ("aaaa!", "aa", ["!aa"]),
        ("", "\n", []),
    ],
    ids=[
        "lines",
        "no end",
        "blank",
        "carriage returns",
        "begun end",
        "begun word",
        "nothing but separators",
        "empty",
    ],
)
def test_records_end_with_their_separator_and_blank_ones_are_left_out(
    text: str, separator: str, expected: list[str]
) -> None:
    assert records_of(text, separator) == expected


@given(text=TEXTS, separator=SEPARATORS)
@example(text="xaaa", separator="aa")
@example(text="y\n", separator="\n\n")
def test_records_joined_and_cut_again_are_the_same_records(text: str, separator: str) -> None:
    records = records_of(text, separator)
    assert records_of("".join(records), separator) == records
    assert all(record.endswith(separator) and record.strip() for record in records)
    assert all(record.index(separator) == len(record) - len(separator) for record in records)


@given(chunks=st.lists(st.text("ab \n|", max_size=9)), separator=SEPARATORS)
@example(chunks=["a<|e", "n", "d|>b"], separator="<|end|>")
@example(chunks=["a", "aa", "ab"], separator="aa")
def test_where_a_text_was_cut_into_chunks_changes_nothing(
    chunks: list[str], separator: str
) -> None:
    assert list(cut_records(chunks, separator)) == records_of("".join(chunks), separator)


@given(text=TEXTS, separator=SEPARATORS)
def test_what_is_left_out_is_counted(text: str, separator: str) -> None:
    complete = "".join(records_of(text + separator, separator))
    if not complete:
        with pytest.raises(TextError, match="There is no record in names: all are blank"):
            survey([text + separator], separator, "names")
        return
    found = survey([text + separator], separator, "names")
    *pieces, _ = (text + separator).split(
        separator
    )  # what is left behind the last separator is no record if blank
    assert found.blank == sum(not piece.strip() for piece in pieces)
    assert found.characters == len(complete)
    assert found.lengths.tolist() == list(map(len, records_of(text + separator, separator)))


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=40),
    share=st.floats(0.01, 0.9),
)
def test_whole_records_validate_and_equal_ones_stand_on_one_side(
    words: list[str], share: float
) -> None:
    text = "".join(f"{word}\n" for word in words)
    if len(set(words)) < 2:
        with pytest.raises(TextError, match="one record only"):
            divide(text, share)
        return
    train, valid = (records_of(part) for part in divide(text, share))
    assert Counter(train) + Counter(valid) == Counter(records_of(text))
    assert train
    assert valid
    assert not set(train) & set(valid)
    order = iter(records_of(text))
    assert all(record in order for record in train), "in the order of the text"


def test_the_share_that_validates_is_the_nearest_to_what_was_asked_and_evenly_drawn() -> None:
    words = [f"{number:05}" for number in range(5000)]
    _, valid = divide("\n".join(words), 0.1)
    assert len(valid) == 500 * 6
    assert 200 < sum(word < "02500" for word in valid.split()) < 300, (
        "from a sorted list, not its end"
    )


def test_what_validates_does_not_depend_on_the_order() -> None:
    words = [str(number) for number in range(200)]
    shuffled = random.Random(1).sample(words, len(words))
    ours, theirs = (set(divide("\n".join(names), 0.2)[1].split()) for names in (words, shuffled))
    assert ours == theirs


@pytest.mark.parametrize("share", [0, -1, 0.95])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="--valid-fraction must be above 0"):
        divide("a\nb\n", share)


def test_a_separator_that_never_occurs_is_an_error_that_shows_it() -> None:
    with pytest.raises(TextError, match=r"separator '\\n\\n' never occurs in names") as caught:
        survey(["a\nb\n"], "\n\n", "names")
    assert "--records lines" in caught.value.hint


@given(text=TEXTS, separator=SEPARATORS)
def test_each_record_is_encoded_by_itself(text: str, separator: str) -> None:
    tokenizer = CharTokenizer.train(["ab \n|"])
    records = records_of(text, separator)
    if not records:
        with pytest.raises(TextError, match="no record"):
            encode_text(tokenizer, text, separator)
        return
    encoded = encode_text(tokenizer, text, separator)
    assert encoded.starts is not None
    assert [tokenizer.decode(part) for part in np.split(encoded.ids, encoded.starts[1:])] == records
    assert encoded.characters == encoded.bytes == sum(map(len, records))


TOKENIZERS = [CharTokenizer.train("ab \n|"), WordTokenizer.train(["ab ba | aa\nbb " * 9])]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["char", "word"])
def test_ids_on_the_disk_are_those_in_memory(tokenizer: Tokenizer, tmp_path: Path) -> None:
    parts = [[f"{word} ab\n" * 3 for word in ("a", "bb", "a b", "||")], ["b ab ba|a"]]
    expected = [[tokenizer.encode(record).tolist() for record in part] for part in parts]

    def check(found: list[Encoded]) -> None:
        for one, records, ids in zip(found, parts, expected, strict=True):
            assert one.starts is not None
            assert [part.tolist() for part in np.split(one.ids, one.starts[1:])] == ids
            assert one.starts[0] == 0
            assert one.characters == one.bytes == sum(map(len, records))

    path = tmp_path / "text.ids"
    check(encode_once(tokenizer, parts, records=True))
    check(encode_kept(tokenizer, lambda: parts, path, "text", records=True))
    check(
        encode_kept(tokenizer, lambda: [], path, "text", records=True)
    )  # found again, not made again
    good = path.read_bytes()
    place = good.index(np.array([0, len(expected[0][0])], np.int64).tobytes())
    path.write_bytes(good[:place] + b"\1" + good[place + 1 :])
    assert encode_kept(tokenizer, lambda: [], path, "text", records=True) == [], (
        "where records begin is checked too"
    )


def test_a_text_of_no_record_has_no_ids() -> None:
    with pytest.raises(TextError, match="no record in the text"):
        encode_once(TOKENIZERS[0], [["a\n"], []], records=True)


class PairTokenizer(CharTokenizer):
    """Makes one id of two characters, wherever a text begins.

    Of the whole text it would join two records.
    """

    def encode(self, text: str) -> Any:
        return super().encode(text)[::2]


def test_no_token_reaches_from_one_record_to_the_next() -> None:
    encoded = encode_text(PairTokenizer("\nabc"), "ab\nc\n", "\n")
    assert encoded.ids.tolist() == [2, 1, 4]
    assert encoded.starts is not None
    assert encoded.starts.tolist() == [0, 2]


def test_a_text_without_records_is_encoded_as_ever() -> None:
    assert encode_text(CharTokenizer("ab"), "abba", None).starts is None


@pytest.mark.parametrize(
    "about", [{}, {"train": None}, {"train": {}}, {"train": {"records": None}}], ids=repr
)
def test_a_file_that_knows_nothing_of_records_is_of_one_long_text(about: dict[str, Any]) -> None:
    assert saved_separator(about) is None


@pytest.mark.parametrize("records", ["", 3, ["\n"]], ids=repr)
def test_a_file_with_nonsense_for_a_separator_is_refused(records: Any) -> None:
    with pytest.raises(ModelFileError, match="which is no separator"):
        saved_separator({"train": {"records": records}})


def small_model(size: int) -> CharRNN:
    return build(ModelConfig(vocab_size=size, hidden_size=8, embedding_size=4), seed=3).double()


def scored(model: CharRNN, tokenizer: CharTokenizer, text: Encoded) -> float:
    return evaluate(model, tokenizer, text, ScoringProtocol.of(text)).nats


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=90),
    long=st.sampled_from([1, 255, 256, 700]),
)
def test_a_score_by_record_is_the_sum_of_each_records_own(words: list[str], long: int) -> None:
    tokenizer = CharTokenizer("\nabc")
    model, records = small_model(tokenizer.size), [word + "\n" for word in [*words, "ab" * long]]
    expected = 0.0
    with torch.no_grad():
        for record in records:
            ids = torch.from_numpy(tokenizer.encode(record).astype(np.int64))
            logits, _ = model(torch.cat([torch.tensor([model.start]), ids[:-1]])[None])
            expected += float(functional.cross_entropy(logits[0].float(), ids, reduction="sum"))
    text = encode_text(tokenizer, "".join(records), "\n")
    score = evaluate(model, tokenizer, text, ScoringProtocol.of(text))
    assert score.nats == pytest.approx(expected, rel=1e-6)
    assert score.tokens == score.characters == sum(map(len, records))
    shuffled = encode_text(tokenizer, "".join(sorted(records)), "\n")
    assert scored(model, tokenizer, shuffled) == pytest.approx(expected, rel=1e-6)


def test_a_score_says_that_it_is_by_record() -> None:
    tokenizer = CharTokenizer("\nab")
    assert str(ScoringProtocol.of(encode_text(tokenizer, "a\nb\n", "\n"))) == "state:records"
    assert (
        str(ScoringProtocol.of(encode_text(tokenizer, "a\nb\n", None)))
        == "state:carried-warmup-512"
    )
