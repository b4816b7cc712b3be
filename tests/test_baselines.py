"""Baselines against definitions written with dictionaries, and what compressors are known to do."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.evaluation.baselines import (
    COMPRESSORS,
    Alphabet,
    compressed,
    ngram_nats,
    primed,
    unprimed,
)
from charrnn.evaluation.baselines.baseline_score import BaselineScore
from charrnn.evaluation.baselines.ngram import unigram_nats

TRAIN = "the cat sat on the mat. a dog ran to the hat.\n" * 3 + "zebras \u00e9t\u00e9 \U0001f469"
SYMBOLS = st.lists(st.integers(0, 4), max_size=40)


class Naive:
    """Witten-Bell by its definition, in fractions."""

    def __init__(self, train: Sequence[int], size: int, order: int) -> None:
        self.size, self.order = size, order
        self.followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for place, symbol in enumerate(train):
            for length in range(min(order - 1, place) + 1):
                self.followers[tuple(train[place - length : place])][symbol] += 1

    def probability(self, symbol: int, context: tuple[int, ...]) -> Fraction:
        lower = self.probability(symbol, context[1:]) if context else Fraction(1, self.size)
        seen = self.followers.get(context)
        if not seen:
            return lower
        return (seen[symbol] + len(seen) * lower) / (seen.total() + len(seen))

    def nats(self, ids: Sequence[int]) -> list[float]:
        contexts = (tuple(ids[max(0, place - self.order + 1) : place]) for place in range(len(ids)))
        return [
            -math.log(self.probability(symbol, h)) for symbol, h in zip(ids, contexts, strict=True)
        ]


def array(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


@given(train=SYMBOLS, text=SYMBOLS, order=st.integers(1, 6))
def test_the_ngram_is_its_definition(train: list[int], text: list[int], order: int) -> None:
    found = ngram_nats(array(train), array(text), 5, order)
    assert found == pytest.approx(Naive(train, 5, order).nats(text), rel=1e-9)


@given(train=SYMBOLS, context=SYMBOLS, order=st.integers(1, 6))
def test_the_ngrams_probabilities_sum_to_one(
    train: list[int], context: list[int], order: int
) -> None:
    nats = [
        ngram_nats(array(train), array([*context, symbol]), 5, order)[-1] for symbol in range(5)
    ]
    assert np.exp(-np.array(nats)).sum() == pytest.approx(1)


def test_no_contexts_are_confused_however_many_symbols_there_are() -> None:
    """As many symbols as Unicode has: five of them are more than 64 bits can tell apart."""
    rng = np.random.default_rng(1)
    train, text = (
        rng.choice([0, 1, 2, 1_100_000, 1_111_000], size=size).astype(np.uint32)
        for size in (400, 50)
    )
    expected = Naive(train.tolist(), 1_111_001, 5).nats(text.tolist())
    assert ngram_nats(train, text, 1_111_001, 5) == pytest.approx(expected, rel=1e-9)


@given(train=SYMBOLS, text=SYMBOLS)
def test_the_unigram_adds_one_to_each_count(train: list[int], text: list[int]) -> None:
    counts = Counter(train)
    expected = sum(-math.log((counts[symbol] + 1) / (len(train) + 5)) for symbol in text)
    assert unigram_nats(array(train), array(text), 5) == pytest.approx(expected)


def test_uniform_costs_the_logarithm_of_the_alphabet_and_an_unknown_character_its_price() -> None:
    known = len(set(TRAIN))
    costs = {cost.name: cost for cost in primed(TRAIN, "cat")}
    assert costs[f"uniform over {known + 1} characters"].bits_per_char == pytest.approx(
        math.log2(known + 1)
    )
    for name, cost in costs.items():
        with_stranger = {cost.name: cost for cost in primed(TRAIN, "catQ")}[name]
        if "primed" not in name:
            outside = 0x110000 - 0x800 - known
            assert with_stranger.nats - cost.nats > math.log(outside)
            assert with_stranger.nats < math.inf


def test_the_first_symbol_of_a_text_does_not_follow_the_training_text() -> None:
    alphabet = Alphabet.of("ab" * 50)
    train = alphabet.encode("ab" * 50)
    after_nothing = ngram_nats(train, alphabet.encode("a"), alphabet.size)
    assert after_nothing == pytest.approx(
        ngram_nats(train, alphabet.encode("a"), alphabet.size, order=1)
    )


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_that_has_seen_the_text_needs_little_for_it(name: str) -> None:
    text = "".join(np.random.default_rng(1).choice(list("abcdefgh"), size=3000))
    alone = compressed(name, "", text)
    assert (
        3000 * 3 / 8 * 0.95 < alone < 3000 * 3 / 8 * 1.35
    )  # three bits for each character, and a little
    assert compressed(name, "x" * 99 + text, text) < alone / 2
    assert compressed(name, "x" * 3000, text) == pytest.approx(alone, rel=0.1)


def test_each_compressor_looks_back_as_far_as_it_can() -> None:
    rng = np.random.default_rng(1)
    text, noise = ("".join(rng.choice(list("abcdefgh"), size=size)) for size in (2000, 50_000))
    alone = {name: compressed(name, "", text) for name in COMPRESSORS}
    after_noise = {name: compressed(name, text + noise, text) for name in COMPRESSORS}
    assert after_noise["gzip"] > 0.9 * alone["gzip"]  # beyond its window of 32 KB
    assert after_noise["bz2"] < 0.95 * alone["bz2"]
    assert after_noise["xz"] < 0.2 * alone["xz"]


def test_a_cost_has_the_units_of_a_score() -> None:
    cost = BaselineScore.of_bytes("x", 3, "\u00e9a")
    assert (cost.bits_per_char, cost.bits_per_byte) == (pytest.approx(12), pytest.approx(8))
    assert cost.to_dict()["name"] == "x"
    assert [cost.name for cost in unprimed("a")] == [
        "gzip, not primed",
        "bz2, not primed",
        "xz, not primed",
    ]
