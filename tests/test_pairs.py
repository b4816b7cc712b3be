"""Files of pairs: what a line is, what is refused, and which pairs are held out."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.source import SourceConfig
from charrnn.data.id_cache import encode_to_tempfile
from charrnn.data.pairs import cut_pairs, split_pairs, whole_part
from charrnn.data.text import read_text
from charrnn.errors import TextError
from charrnn.tokenizers import ByteTokenizer, LabelTokenizer

TEXTS = SourceConfig()
LABELS = SourceConfig(target="label")
side = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"])).filter(
    lambda text: bool(text.strip())
)


def pairs(*chunks: str) -> list[tuple[str, str]]:
    return list(cut_pairs(chunks, "pairs"))


def file_of(folder: Path, text: str, name: str = "pairs.tsv") -> Any:
    (folder / name).write_text(text, encoding="utf-8")
    return read_text([str(folder / name)])


@given(st.lists(st.tuples(side, side)), st.integers(1, 5))
def test_every_line_is_a_pair_wherever_the_text_is_cut(
    wanted: list[tuple[str, str]], size: int
) -> None:
    text = "".join(f"{source}\t{target}\n" for source, target in wanted)
    assert pairs(*(text[i : i + size] for i in range(0, len(text), size))) == wanted


def test_nothing_is_quoted_and_windows_lines_and_blank_lines_are_fine() -> None:
    assert pairs('"a\tb"\r\n\n', "\\n\t'\r\n\r\nlast\tone") == [
        ('"a', 'b"'),
        ("\\n", "'"),
        ("last", "one"),
    ]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a\tb\nno tab here\n", "Line 2 of pairs has no TAB", "paste a b > pairs.tsv"),
        ("a\tb\tc\n", "Line 1 of pairs has 2 TABs instead of one", "no quoting"),
        ("a\tb\n \tx\n", "Line 2 of pairs has an empty source", ""),
        ("a\t\n", "Line 1 of pairs has an empty target", ""),
        ("x" * 500 + "\n", "'xxx", "paste"),
    ],
)
def test_a_line_that_is_no_pair_is_named_and_shown(text: str, message: str, hint: str) -> None:
    with pytest.raises(TextError) as caught:
        pairs(text)
    assert message in caught.value.message
    assert len(caught.value.message) < 200
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


def both(split: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    def joined(part: str) -> list[tuple[str, str]]:
        sources = getattr(split.sources, part).units()
        return list(zip(sources, getattr(split.targets, part).units(), strict=True))

    return joined("train"), joined("valid")


def test_pairs_with_one_source_stay_on_one_side(tmp_path: Path) -> None:
    lines = [f"s{number % 40}\tt{number}\n" for number in range(400)]
    train, valid = both(split_pairs(file_of(tmp_path, "".join(lines)), TEXTS, 0.2))
    assert sorted(train + valid) == sorted(
        (f"{source}\n", target) for source, target in (line.split("\t") for line in lines)
    )
    assert not {source for source, _ in train} & {source for source, _ in valid}
    assert 40 <= len(valid) <= 120
    assert [t for _, t in train] == [
        line.split("\t")[1] for line in lines if f"{line.split()[0]}\n" in {s for s, _ in train}
    ]


def test_texts_with_one_target_stay_on_one_side_where_the_source_is_a_label(
    tmp_path: Path,
) -> None:
    lines = "".join(f"{'ab'[number % 2]}\tt{number % 50}\n" for number in range(200))
    train, valid = both(split_pairs(file_of(tmp_path, lines), SourceConfig(source="label"), 0.2))
    assert {source for source, _ in valid} == {source for source, _ in train} == {"a", "b"}
    assert not {target for _, target in train} & {target for _, target in valid}


def test_a_second_file_is_held_out_as_a_whole(tmp_path: Path) -> None:
    valid = file_of(tmp_path, "a\tB\nnew\tX\n", "valid.tsv")
    train, held_out = both(split_pairs(file_of(tmp_path, "a\tA\nb\tB\n"), TEXTS, 0.1, valid))
    assert train == [("a\n", "A\n"), ("b\n", "B\n")]
    assert held_out == [("a\n", "B\n"), ("new\n", "X\n")]


def test_packed_files_and_several_files_are_read_as_all_texts_are(tmp_path: Path) -> None:
    (tmp_path / "one.tsv.gz").write_bytes(gzip.compress("ä\tö\n".encode()))
    (tmp_path / "two.tsv").write_text("a\tb\n")
    text = read_text([str(tmp_path / "one.tsv.gz"), str(tmp_path / "two.tsv")])
    assert list(whole_part(text, TEXTS, source=True).units()) == ["ä\n", "a\n"]


def test_pictures_are_relative_to_the_file(tmp_path: Path) -> None:
    text = file_of(tmp_path, "one.png\ta cat\n")
    part = whole_part(text, SourceConfig(source="image"), source=True)
    assert list(part.units()) == [str(tmp_path / "one.png")]


def test_a_label_is_one_symbol_whatever_it_is_called(tmp_path: Path) -> None:
    text = file_of(tmp_path, "good film\tvery good!\nbad\t0\nnice\tvery good!\n")
    part = whole_part(text, LABELS, source=False)
    tokenizer = LabelTokenizer.train(part.units())
    encoded = encode_to_tempfile(tokenizer, part)
    assert (tokenizer.labels, tokenizer.counts) == (("0", "very good!"), (1, 2))
    assert encoded.ids.tolist() == [1, 0, 1]
    assert encoded.starts is not None
    assert encoded.starts.tolist() == [0, 1, 2]
    again = LabelTokenizer.from_dict(tokenizer.to_dict())
    assert [again.decode([symbol]) for symbol in (0, 1)] == ["0", "very good!"]
    with pytest.raises(TextError, match="never seen the label 'Good'") as caught:
        again.encode("Good")
    assert caught.value.hint == "It knows '0', 'very good!'."


def test_a_label_that_occurs_only_among_the_held_out_pairs_has_a_symbol_too() -> None:
    known = LabelTokenizer(("b", "c"), (5, 2)).extended(["c", "a", "a"])
    assert (known.labels, known.counts) == (("a", "b", "c"), (1, 5, 2))


def test_one_label_is_too_few() -> None:
    with pytest.raises(TextError, match="only one label, 'a'"):
        LabelTokenizer.train(["a", "a"])


def test_targets_and_sources_are_encoded_like_records(tmp_path: Path) -> None:
    text = file_of(tmp_path, "ab\txyz\nc\tw\n")
    for source, wanted in ((True, b"ab\nc\n"), (False, b"xyz\nw\n")):
        encoded = encode_to_tempfile(ByteTokenizer(), whole_part(text, TEXTS, source=source))
        assert np.asarray(encoded.ids).astype(np.uint8).tobytes() == wanted
        assert encoded.starts is not None
        assert encoded.starts.tolist() == [0, wanted.index(b"\n") + 1]
        assert encoded.characters == len(wanted)
