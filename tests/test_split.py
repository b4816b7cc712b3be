"""Splitting against exact fractions; the parts are the text, in whatever order they are read."""

import hashlib
import io
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data import text_file
from charrnn.data.formats import (
    PLAIN,
    RecordFormat,
    TextFormat,
    saved_format,
    skip_characters,
    take_characters,
    text_format,
    train_length,
)
from charrnn.data.records import cut_records
from charrnn.data.split import TextPart, TextSplit, split_text
from charrnn.data.text import Text, read_text
from charrnn.errors import TextError, UsageError

FORMATS = st.sampled_from([PLAIN, RecordFormat("\n"), RecordFormat("\n\n"), RecordFormat("|")])
LINES = st.lists(st.text("ab \u00e9\U0001f680|\n"), min_size=4, max_size=12).map("\n\n|\n".join)
FRACTIONS = st.integers(20, 80).map(lambda hundredths: hundredths / 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@contextmanager
def opened(folder: Path, text: str, chunk: int = 1 << 20, *, piped: bool = False) -> Iterator[Text]:
    """Give a text that is read in chunks of some bytes, from a file or from standard input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "CHUNK", chunk)
        if piped:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        else:
            (folder / "text.txt").write_bytes(text.encode())
        yield read_text(["-" if piped else str(folder / "text.txt")])


def check_parts(split: TextSplit, whole: str) -> None:
    """Make sure that the two parts are what the format promises, each by itself and together."""
    train, valid = split.train.read(), split.valid.read()
    assert (split.train.characters, split.valid.characters) == (len(train), len(valid))
    if split.format.separator is None:
        assert train + valid == whole
        return
    train_units, valid_units, records = (
        list(cut_records([part], split.format.separator)) for part in (train, valid, whole)
    )
    assert Counter(train_units) + Counter(valid_units) == Counter(records)
    assert not set(train_units) & set(valid_units)
    for units in (train_units, valid_units):
        order = iter(records)
        assert all(unit in order for unit in units), "in the order of the text"


# ---- where ----


def test_tiny_shakespeares_usual_split() -> None:
    assert train_length(1_115_394, 0.1) == 1_003_854


@given(length=st.integers(0, 300), hundredths=st.integers(1, 90))
@example(length=100, hundredths=90)  # (1 - 0.9) * 100 is less than 10 in floats
def test_a_split_is_exact_or_names_the_length_needed(length: int, hundredths: int) -> None:
    fraction, share = hundredths / 100, Fraction(hundredths, 100)

    def fits(length: int) -> bool:
        n_train = int(length * (1 - share))
        return n_train >= 2 and length - n_train >= 2

    if fits(length):
        assert train_length(length, fraction) == int(length * (1 - share))
    else:
        needed = next(length for length in range(1000) if fits(length))
        with pytest.raises(
            TextError, match=f"has {length} characters; at least {needed} are needed"
        ):
            train_length(length, fraction)


@pytest.mark.parametrize("fraction", [0, -0.1, 0.91, 1, float("nan"), float("inf")])
def test_a_fraction_out_of_range(fraction: float, folder: Path) -> None:
    with opened(folder, "one\ntwo\nthree\n") as text:
        for one in (PLAIN, RecordFormat("\n")):
            with pytest.raises(UsageError, match=f"greater than 0 and at most 0.9, not {fraction}"):
                split_text(text, one, fraction)


@given(chunks=st.lists(st.text(min_size=1, max_size=9)), data=st.data())
def test_taking_and_skipping_lose_nothing_wherever_the_text_is_cut(
    chunks: list[str], data: st.DataObject
) -> None:
    text = "".join(chunks)
    length = data.draw(st.integers(0, len(text)))
    assert "".join(take_characters(length, chunks)) == text[:length]
    assert "".join(skip_characters(length, chunks)) == text[length:]
    assert all(skip_characters(length, chunks)), "no chunk is empty"


def test_no_more_is_read_than_is_taken() -> None:
    def chunks() -> Iterator[str]:
        yield from ("ab", "cd")
        raise AssertionError("It is read on.")

    assert list(take_characters(3, chunks())) == ["ab", "c"]
    assert list(take_characters(4, chunks())) == ["ab", "cd"]


# ---- what ----


@given(
    whole=LINES,
    form=FORMATS,
    fraction=FRACTIONS,
    chunk=st.integers(1, 9),
    piped=st.booleans(),
    order=st.lists(st.tuples(st.sampled_from(["train", "valid"]), st.booleans()), max_size=6),
)
@example(
    whole="ab\ncd\nef\n",
    form=RecordFormat("\n"),
    fraction=0.5,
    chunk=2,
    piped=True,
    order=[("train", True), ("valid", False), ("train", False)],
)
def test_the_parts_are_the_text_however_often_and_in_whatever_order_they_are_read(
    whole: str,
    form: TextFormat,
    fraction: float,
    chunk: int,
    piped: bool,
    order: list[tuple[str, bool]],
    folder: Path,
) -> None:
    with opened(folder, whole, chunk, piped=piped) as text:
        try:
            split = split_text(text, form, fraction)
        except TextError:  # of one record
            assert form.separator is not None
            assert len(set(cut_records([whole], form.separator))) < 2
            return
        check_parts(split, whole)
        parts = {"train": split.train, "valid": split.valid}
        expected = {name: part.read() for name, part in parts.items()}
        for name, begun in order:
            if begun:  # and left
                next(parts[name].units(), None)
            else:
                assert "".join(parts[name].units()) == expected[name]
        assert (split.name, split.sha256) == (text.name, text.sha256)


@given(whole=LINES, held_out=LINES, form=FORMATS, chunk=st.integers(1, 9))
def test_a_second_text_is_held_out_as_a_whole(
    whole: str, held_out: str, form: TextFormat, chunk: int, folder: Path
) -> None:
    def units(text: str) -> str:
        return "".join(form.units([text]))

    if not units(whole):  # nothing but blank records
        return
    second = folder / "second"
    second.mkdir(exist_ok=True)
    with opened(folder, whole, chunk) as text, opened(second, held_out, chunk) as valid:
        split = split_text(text, form, 0.0, valid)
        for _ in range(2):
            assert split.valid.read() == units(held_out)
            assert split.train.read() == units(whole)
        assert split.train.characters == len(units(whole))
        assert split.valid == TextPart.whole(valid, form)
        assert split.sha256 not in (text.sha256, valid.sha256)


@pytest.mark.parametrize("form", [PLAIN, RecordFormat("\n")], ids=["plain", "records"])
def test_a_text_that_changes_is_noticed_at_its_end(form: TextFormat, folder: Path) -> None:
    with opened(folder, "one\ntwo\nthree\nfour\n") as text:
        split = split_text(text, form, 0.3)
        (folder / "text.txt").write_text("one\ntwo\nthree\nfive\n")
        with pytest.raises(TextError, match="text was changed while it was read"):
            split.valid.read()


def test_all_that_the_parts_depend_on_is_in_the_fingerprint(folder: Path) -> None:
    (folder / "b").mkdir()
    found = []
    with opened(folder, "one|\ntwo|\nthree|\n") as text, opened(folder / "b", "a|\nb|\n") as other:
        for form in (PLAIN, RecordFormat("\n"), RecordFormat("|"), RecordFormat("|\n")):
            found += [split_text(text, form, 0.2), split_text(text, form, 0.6)]
            found += [split_text(text, form, 0.2, other), split_text(other, form, 0.5)]
            found += [split_text(other, form, 0.5, text)]
    assert len({split.fingerprint for split in found}) == len(found) == 20
    sha256 = hashlib.sha256(b"one|\ntwo|\nthree|\n").hexdigest()
    assert found[0].fingerprint == f"{sha256} 13 None"


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("a\nb\n", ()),
        ("a\n\nb\n", ("Left out 1 blank record.",)),
        ("a\n\n \nb\n", ("Left out 2 blank records.",)),
    ],
)
def test_blank_records_are_told_of(text: str, notes: tuple[str, ...], folder: Path) -> None:
    with opened(folder, text) as one:
        assert split_text(one, RecordFormat("\n"), 0.5).notes == notes
        assert split_text(one, RecordFormat("\n"), 0.5, one).notes == notes
        assert split_text(one, PLAIN, 0.5).notes == ()


def test_a_part_is_read_for_a_purpose_that_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "CHUNK", 5)
    told: list[tuple[str, int, int | None]] = []
    (folder / "text.txt").write_text("one\ntwo\nthree\n")
    text = read_text([str(folder / "text.txt")], on_progress=lambda *one: told.append(one))
    for form, finding in ((PLAIN, []), (RecordFormat("\n"), ["Finding the records"])):
        told.clear()
        split = split_text(text, form, 0.3)
        split.train.read()
        assert told[-1] == ("Reading", 14, 14), "though the rest was not read"
        split.valid.read("Encoding")
        assert list(dict.fromkeys(what for what, _, _ in told)) == [*finding, "Reading", "Encoding"]
        assert told[-1] == ("Encoding", 14, 14)


# ---- which format ----


@pytest.mark.parametrize(
    ("records", "separator"), [(None, None), ("lines", "\n"), (r"\n\n", "\n\n"), ("<|>", "<|>")]
)
def test_the_format_that_a_setting_names(records: str | None, separator: str | None) -> None:
    form = PLAIN if separator is None else RecordFormat(separator)
    assert text_format(records) == form
    assert saved_format({"train": {"records": records}}) == form
