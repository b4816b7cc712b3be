"""Texts that consist of records: cutting, splitting, encoding, and scoring each from zero state."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import PLAIN, RecordFormat, saved_format
from charrnn.data.id_cache import encode_cached, encode_to_tempfile
from charrnn.data.records import cut_records, index_records, separator_of
from charrnn.data.split import TextPart, split_text
from charrnn.data.text import Text, read_text
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate
from charrnn.model.network import CharRNN, build
from charrnn.tokenizers import CharTokenizer, Tokenizer, WordTokenizer

TEXTS = st.text(alphabet="ab \n|", max_size=60)
SEPARATORS = st.text(alphabet="ab\n|", min_size=1, max_size=3)


def records_of(text: str, separator: str = "\n") -> list[str]:
    return list(cut_records([text], separator))


def split(text: str, fraction: float, separator: str = "\n") -> tuple[str, str]:
    index = index_records([text], separator, "names")
    found, records = index.split(fraction * index.characters), records_of(text, separator)
    parts = "".join(found.training(records)), "".join(found.validation(records))
    assert found.train_length == len(parts[0])
    assert index.characters == len(parts[0]) + len(parts[1])
    return parts


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
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
def test_the_separator_that_a_setting_names(given_: str, expected: str) -> None:
    assert separator_of(given_) == expected


def test_an_empty_separator_is_refused() -> None:
    with pytest.raises(UsageError, match="`records` needs a separator, but it is empty"):
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
            index_records([text + separator], separator, "names")
        return
    found = index_records([text + separator], separator, "names")
    # a separator that overlaps itself leaves something behind the last one: perhaps a blank record
    *pieces, rest = (text + separator).split(separator)
    assert found.blank - sum(not piece.strip() for piece in pieces) in ((0, 1) if rest else (0,))
    assert found.characters == len(complete)
    assert found.lengths.tolist() == list(map(len, records_of(text + separator, separator)))


@given(
    words=st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=40),
    fraction=st.floats(0.01, 0.9),
)
def test_whole_records_are_held_out_and_equal_ones_stand_on_one_side(
    words: list[str], fraction: float
) -> None:
    text = "".join(f"{word}\n" for word in words)
    if len(set(words)) < 2:
        with pytest.raises(TextError, match="only one record"):
            split(text, fraction)
        return
    train, valid = (records_of(part) for part in split(text, fraction))
    assert Counter(train) + Counter(valid) == Counter(records_of(text))
    assert train
    assert valid
    assert not set(train) & set(valid)
    order = iter(records_of(text))
    assert all(record in order for record in train), "in the order of the text"


def test_what_is_held_out_is_the_nearest_to_what_was_asked_and_evenly_drawn() -> None:
    words = [f"{number:05}" for number in range(5000)]
    _, valid = split("\n".join(words), 0.1)
    assert len(valid) == 500 * 6
    assert 200 < sum(word < "02500" for word in valid.split()) < 300, (
        "from a sorted list, not its end"
    )


def test_what_is_held_out_does_not_depend_on_the_order() -> None:
    words = [str(number) for number in range(200)]
    shuffled = random.Random(1).sample(words, len(words))
    ours, theirs = (set(split("\n".join(names), 0.2)[1].split()) for names in (words, shuffled))
    assert ours == theirs


def test_a_separator_that_never_occurs_is_an_error_that_shows_it() -> None:
    with pytest.raises(TextError, match=r"separator '\\n\\n' never occurs in names") as caught:
        index_records(["a\nb\n"], "\n\n", "names")
    assert "`records` lines" in caught.value.hint


@given(text=TEXTS, separator=SEPARATORS)
def test_each_record_is_encoded_by_itself(text: str, separator: str) -> None:
    tokenizer = CharTokenizer.train(["ab \n|"])
    records = records_of(text, separator)
    if not records:
        with pytest.raises(TextError, match="no record"):
            encode_text(tokenizer, text, RecordFormat(separator))
        return
    encoded = encode_text(tokenizer, text, RecordFormat(separator))
    assert encoded.starts is not None
    assert [tokenizer.decode(part) for part in np.split(encoded.ids, encoded.starts[1:])] == records
    assert encoded.characters == encoded.bytes == sum(map(len, records))


LINES = RecordFormat("\n")
TOKENIZERS = [CharTokenizer.train("ab \n|"), WordTokenizer.train(["ab ba | aa\nbb " * 9])]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["char", "word"])
def test_ids_on_the_disk_are_those_in_memory(tokenizer: Tokenizer, tmp_path: Path) -> None:
    parts = [[f"{word} ab\n" * 3 for word in ("a", "bb", "a b", "||")], ["b ab ba|a"]]
    expected = [
        [tokenizer.encode(record).tolist() for record in records_of("".join(part))]
        for part in parts
    ]

    def check(*found: Encoded) -> None:
        for one, part, ids in zip(found, parts, expected, strict=True):
            assert one.starts is not None
            assert [part.tolist() for part in np.split(one.ids, one.starts[1:])] == ids
            assert one.starts[0] == 0
            records = records_of("".join(part))
            assert one.characters == one.bytes == sum(map(len, records))

    texts = [written(tmp_path / str(number), part) for number, part in enumerate(parts)]
    both, path = split_text(texts[0], LINES, 0.0, texts[1]), tmp_path / "text.ids"
    check(*(encode_to_tempfile(tokenizer, part) for part in (both.train, both.valid)))
    for _ in range(2):  # made, and found again
        found = encode_cached(tokenizer, both, path)
        check(found.train, found.valid)
        (tmp_path / "0").write_text("changed")
    good = path.read_bytes()
    place = good.index(np.array([0, len(expected[0][0])], np.int64).tobytes())
    path.write_bytes(good[:place] + b"\1" + good[place + 1 :])
    with pytest.raises(TextError, match="changed"):  # where records begin is checked too
        encode_cached(tokenizer, both, path)


def written(path: Path, chunks: list[str]) -> Text:
    path.write_text("".join(chunks))
    return read_text([str(path)])


def test_a_text_of_no_record_has_no_ids(tmp_path: Path) -> None:
    text = written(tmp_path / "a", [" |\n"])
    with pytest.raises(TextError, match="no record in the text"):
        encode_to_tempfile(TOKENIZERS[0], TextPart.whole(text, RecordFormat("|\n")))


class PairTokenizer(CharTokenizer):
    """Makes one id of two characters, wherever a text begins.

    Of the whole text it would join two records.
    """

    def encode(self, text: str) -> Any:
        return super().encode(text)[::2]


def test_no_token_reaches_from_one_record_to_the_next() -> None:
    encoded = encode_text(PairTokenizer("\nabc"), "ab\nc\n", LINES)
    assert encoded.ids.tolist() == [2, 1, 4]
    assert encoded.starts is not None
    assert encoded.starts.tolist() == [0, 2]


def test_a_text_without_records_is_encoded_as_ever() -> None:
    assert encode_text(CharTokenizer("ab"), "abba", PLAIN).starts is None


@pytest.mark.parametrize(
    "about", [{}, {"train": None}, {"train": {}}, {"train": {"records": None}}], ids=repr
)
def test_a_file_that_knows_nothing_of_records_is_of_one_long_text(about: dict[str, Any]) -> None:
    assert saved_format(about) == PLAIN


@pytest.mark.parametrize("records", ["", 3, ["\n"]], ids=repr)
def test_a_file_with_nonsense_for_a_separator_is_refused(records: Any) -> None:
    with pytest.raises(ModelFileError, match="which is no separator"):
        saved_format({"train": {"records": records}})


def small_model(size: int) -> CharRNN:
    return build(ModelConfig(vocab_size=size, hidden_size=8, embedding_size=4), seed=3).double()


def scored(model: CharRNN, tokenizer: CharTokenizer, text: Encoded) -> float:
    return evaluate(model, tokenizer, text, ScoringProtocol.of(text)).nats


@settings(max_examples=40)
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
    text = encode_text(tokenizer, "".join(records), LINES)
    score = evaluate(model, tokenizer, text, ScoringProtocol.of(text))
    assert score.nats == pytest.approx(expected, rel=1e-6)
    assert score.tokens == score.characters == sum(map(len, records))
    shuffled = encode_text(tokenizer, "".join(sorted(records)), LINES)
    assert scored(model, tokenizer, shuffled) == pytest.approx(expected, rel=1e-6)


def test_a_score_says_that_it_is_by_record() -> None:
    tokenizer = CharTokenizer("\nab")
    found = [str(ScoringProtocol.of(encode_text(tokenizer, "a\nb", one))) for one in (LINES, PLAIN)]
    assert found == ["state:records", "state:carried-warmup-512"]
