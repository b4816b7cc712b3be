import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal
from hypothesis import given
from hypothesis import strategies as st
from small_runs import TEXT

from charrnn import load
from charrnn.evaluation import novelty
from charrnn.evaluation.novelty import copied, matches

TEXTS = st.text("ab", max_size=20) | st.text(max_size=8)


def longest_matches(text: str, training: str) -> list[int]:
    return [
        max(n for n in range(len(text) - start + 1) if text[start : start + n] in training)
        for start in range(len(text))
    ]


@given(TEXTS, st.text("ab", max_size=60), st.integers(1, 100))
def test_matches_are_those_of_brute_force_however_the_training_text_is_cut(
    text: str, training: str, part: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "PART", part)
        assert matches(text, training).tolist() == longest_matches(text, training)


@given(st.text("ab", min_size=3, max_size=6), st.text("ab", min_size=60, max_size=200))
def test_passages_that_are_cut_between_parts_are_found(text: str, training: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "PART", 1)
        assert len(list(novelty.overlapping_parts(training, len(text)))) > 2
        assert matches(text, training).tolist() == longest_matches(text, training)


@given(st.text("abc", max_size=40), st.data())
def test_a_passage_taken_from_the_training_text_is_found(
    training: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(training)))
    passage = training[start : start + data.draw(st.integers(0, 40))]
    assert passage in copied(f"x{passage}y", training).passage + "x"
    assert copied(passage, training).passage == passage


@given(st.text("ab", max_size=80), st.text("ab", max_size=200))
def test_shares_are_those_of_the_substrings(text: str, training: str) -> None:
    found = copied(text, training)
    assert found.characters == len(text)
    assert found.passage in training
    for size in (5, 10, 20, 50):
        substrings = [text[start : start + size] for start in range(len(text) - size + 1)]
        expected = np.mean([one in training for one in substrings]) if substrings else None
        assert found.shares[size] == (None if expected is None else pytest.approx(expected))


def test_any_character_counts_as_one() -> None:
    found = copied("\U0001f600\u00e9\ud800x", "ab\U0001f600\u00e9\ud800y")
    assert (found.passage, found.characters) == ("\U0001f600\u00e9\ud800", 4)


def test_a_text_that_was_learned_by_heart_and_one_that_was_not() -> None:
    text = "".join(chr(97 + i) for i in np.random.default_rng(1).integers(0, 20, 5000))
    assert copied(text[1000:2000], text).shares == {5: 1, 10: 1, 20: 1, 50: 1}
    assert copied(text[1000:2000], text).passage == text[1000:2000]
    assert copied(text[::-1], text).shares[10] == 0


# The command


def test_the_command_compares_a_sample_and_the_held_out_text(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    told = json.loads(
        charrnn.ok("novelty", model, text, "--json", "--seed", 3, "-n", 200, "-t", 0.5).out
    )
    cut = len(TEXT) * 9 // 10
    sample = load(model).generate(seed=3, length=200, temperature=0.5)
    for name, one in (("sample", sample), ("held_out", TEXT[cut:][:200])):
        expected = copied(one, TEXT[:cut])
        assert told[name] == {
            "characters": len(one),
            "passage": expected.passage,
            "shares": {str(size): share for size, share in expected.shares.items()},
        }
    assert (told["seed"], told["settings"]["temperature"], told["settings"]["top_k"]) == (
        3,
        0.5,
        None,
    )
    assert told["model"]["sha256"] == load(model).saved.sha256
    assert told["model"]["path"] == str(model)


def test_the_command_shows_a_table(model: Path, text: Path, charrnn: Terminal) -> None:
    lines = charrnn.ok("novelty", model, text, "--length", 30).out.splitlines()
    assert lines[0].split() == ["sample", "held", "out"]
    assert re.fullmatch(r"  characters +30 +30", lines[1])
    assert re.fullmatch(r"  substrings of 5 that are copied +[\d.]+% +100.00%", lines[3])
    assert re.fullmatch(r"  substrings of 50 that are copied +- +-", lines[6])
    assert lines[7].startswith("  copied in the sample    '")
    assert charrnn.ok("novelty", model, text, "--length", 30).out.splitlines() == lines


def test_the_held_out_text_may_be_one_of_its_own(
    model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "held.txt").write_text("the cat sat on the hat.\n")
    told = json.loads(
        charrnn.ok("novelty", model, text, "--valid", tmp_path / "held.txt", "-n", 90, "--json").out
    )
    assert told["held_out"]["characters"] == 24
    assert told["held_out"]["passage"] in TEXT


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--valid", "x", "--valid-fraction", "0.1"],
            2,
            "--valid and --valid-fraction both say what was held out.",
        ),
        (
            ["--valid-fraction", "1"],
            2,
            "--valid-fraction must be greater than 0 and at most 0.9, not 1.0.",
        ),
        (["--length", "0"], 2, "--length must be at least 1"),
        (["--seed", "-1"], 2, "--seed must be at least 0, not -1."),
        (["--top-p", "2"], 2, "--top-p must be greater than 0 and at most 1, not 2.0."),
        (["--valid", "nowhere.txt"], 3, "Cannot read 'nowhere.txt': no such file."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_command_refuses(
    options: list[str], code: int, message: str, model: Path, text: Path, charrnn: Terminal
) -> None:
    outcome = charrnn("novelty", model, text, *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"charrnn: {message}")
