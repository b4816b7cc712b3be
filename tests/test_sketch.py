"""What a model knows of its text: parts and near copies are noticed, other texts are not."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal
from hypothesis import given
from hypothesis import strategies as st
from small_runs import OPTIONS

from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.sketch import SIZE, Sketch
from charrnn.storage.model_file import load_model
from charrnn.tokenizers import KINDS, train_tokenizer


def words(count: int, seed: int) -> str:
    """Return a text of words that nobody else writes."""
    rng = random.Random(seed)
    known = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(500)]
    return " ".join(rng.choices(known, k=count))


TEXT = words(12_000, seed=1)
WRONG = [("hashes", "!"), ("hashes", 7), ("window", -1), ("every", 0), ("bound", "x")]


def sketch_of(encoded: Encoded) -> Sketch:
    return Sketch.of(encoded.blocks, len(encoded.ids), encoded.characters)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_noticed_wherever_it_is_cut_and_another_text_is_not(kind: str) -> None:
    tokenizer = train_tokenizer(kind, [TEXT])
    sketch = sketch_of(encode_text(tokenizer, TEXT))
    for begin in (0, 1, 7777, 30_001):
        assert (sketch.share(encode_text(tokenizer, TEXT[begin : begin + 9000]).blocks) or 0) > 0.95
    other = encode_text(tokenizer, words(3000, seed=2))
    assert sketch.share(other.blocks) == 0
    half = encode_text(tokenizer, TEXT[:9000] + words(1500, seed=2)[:9000])
    share = sketch.share(half.blocks) or 0
    assert 0.05 < share < 0.65  # of symbols; words that are not known take many
    if kind in ("char", "byte"):
        assert share == pytest.approx(0.5, abs=0.15)


def test_a_near_copy_is_noticed_by_what_was_not_changed() -> None:
    tokenizer, rng = train_tokenizer("char", [TEXT]), random.Random(3)
    changed = "".join("e" if rng.random() < 0.01 else one for one in TEXT[:20_000])
    share = sketch_of(encode_text(tokenizer, TEXT)).share(encode_text(tokenizer, changed).blocks)
    assert share == pytest.approx(0.99**50, abs=0.12)


@given(st.lists(st.integers(0, 4), max_size=3000), st.integers(0, 200))
def test_it_is_what_brute_force_finds(symbols: list[int], cut: int) -> None:
    """A text whose every sampled passage is kept: the share is that of passages in common."""
    ids, other = np.array(symbols, np.uint8), np.array(symbols[cut:] + symbols[:7], np.uint8)
    text, scored = (Encoded(one, len(one), len(one)) for one in (ids, other))
    sketch, window = sketch_of(text), 50
    share = sketch.share(scored.blocks)
    if len(other) < window:
        assert share is None
    known = {tuple(ids[k : k + window]) for k in range(len(ids) - window + 1)}
    passages = [tuple(other[k : k + window]) for k in range(len(other) - window + 1)]
    if share is not None and all(one in known for one in passages):
        assert share == 1
    if share is not None and not any(one in known for one in passages):
        assert share == 0


def test_a_long_text_takes_no_more_room() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 60, size=3_000_000, dtype=np.uint8)
    text = Encoded(ids, len(ids), len(ids))
    sketch = sketch_of(text)
    assert len(sketch.hashes) <= SIZE
    part = Encoded(ids[1_234_567:1_334_567], 100_000, 100_000)
    assert sketch.share(part.blocks) == 1
    other = Encoded(ids[::-1].copy(), len(ids), len(ids))
    assert sketch.share(other.blocks) == 0


def test_it_comes_back_from_json_and_nonsense_is_no_sketch() -> None:
    sketch = sketch_of(encode_text(train_tokenizer("char", [TEXT]), TEXT))
    back = Sketch.from_dict(json.loads(json.dumps(sketch.to_dict())))
    assert back is not None
    assert (back.window, back.every, back.bound) == (sketch.window, sketch.every, sketch.bound)
    assert np.array_equal(back.hashes, sketch.hashes)
    for name, value in (
        ("hashes", "!"),
        ("hashes", 7),
        ("window", -1),
        ("every", 0),
        ("bound", "x"),
    ):
        assert Sketch.from_dict(sketch.to_dict() | {name: value}) is None
    assert Sketch.from_dict(None) is None
    assert Sketch.from_dict({}) is None


def test_a_run_stores_one_and_warns_of_a_held_out_text_that_it_trains_on(
    tmp_path: Path, charrnn: Terminal
) -> None:
    text = tmp_path / "novel.txt"
    text.write_text(TEXT[:8000])
    charrnn.ok("train", text, "--out", tmp_path / "run", "--quiet", *OPTIONS)
    known = load_model(tmp_path / "run").about["text"]
    assert Sketch.from_dict(known["sketch"]) is not None
    assert "sketch" not in charrnn.ok("info", tmp_path / "run", "--json").out
    twice = charrnn.ok("train", text, text, "--out", tmp_path / "twice", *OPTIONS)
    assert "of the held-out text also stands in the training text" in twice.err
