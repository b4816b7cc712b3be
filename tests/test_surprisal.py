"""Scores of lines and of tokens.

Against the score of each by itself, and against NumPy on the same logits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_scoring import (
    EXACT,
    PROTOCOLS,
    TOKENIZER,
    VOCAB,
    every_protocol,
    model_of,
    text_of,
    uniform_model,
)

from charrnn.data.encoding import encode_text
from charrnn.evaluation import scoring, surprisal
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate
from charrnn.evaluation.surprisal import in_detail, in_order, score_lines, surprisals

LINES = ["abcd", "", "a", "dd\u20acZ" * 90, "\u00e9", "", "cab" * 30, "b"]


@pytest.mark.parametrize(("rows", "steps"), [(64, 256), (3, 5), (1, 1)])
def test_a_lines_score_is_that_of_the_line_alone(
    rows: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MAX_STEPS", steps)
    monkeypatch.setattr(surprisal, "MAX_ROWS", rows)
    model = model_of()
    for line, score in zip(LINES, score_lines(model, TOKENIZER, LINES), strict=True):
        if not line:
            assert (score.nats, score.tokens, score.characters) == (0.0, 0, 0)
            assert math.isnan(score.bits_per_char)
            assert math.isnan(score.perplexity)
            assert score.to_dict()["perplexity"] is None
            continue
        alone = evaluate(model, TOKENIZER, encode_text(TOKENIZER, line), EXACT)
        assert score.nats == pytest.approx(alone.nats, rel=1e-5)
        assert (score.tokens, score.unknown, score.bytes) == (
            alone.tokens,
            alone.unknown,
            alone.bytes,
        )


def test_no_lines_and_empty_lines_are_no_work() -> None:
    assert score_lines(model_of(), TOKENIZER, []) == []
    assert [score.tokens for score in score_lines(model_of(), TOKENIZER, ["", ""])] == [0, 0]


@every_protocol
def test_tokens_cost_together_what_the_text_costs(protocol: ScoringProtocol) -> None:
    text = TOKENIZER.decode(text_of(400).ids) + "Z\U0001f469"
    found = list(surprisals(model_of(), TOKENIZER, text, protocol))
    score = evaluate(model_of(), TOKENIZER, encode_text(TOKENIZER, text), protocol)
    assert sum(token.bits for token in found) == pytest.approx(score.nats / math.log(2), rel=1e-5)
    assert "".join(token.text for token in found) == text, "unknown characters too"
    assert [token.id for token in found] == encode_text(TOKENIZER, text).ids.tolist()
    assert [token.unknown for token in found] == [False] * 400 + [True] * 2


def test_a_uniform_model_is_as_surprised_as_it_expects() -> None:
    for token in surprisals(uniform_model(), TOKENIZER, "abcd", EXACT):
        assert token.bits == pytest.approx(math.log2(VOCAB), rel=1e-6)
        assert token.entropy == pytest.approx(math.log2(VOCAB), rel=1e-6)
        assert token.rank == 1, "nothing is likelier"


def test_rank_and_entropy_are_their_definitions() -> None:
    logits = np.random.default_rng(1).normal(0, 3, size=(50, 9))
    targets = np.random.default_rng(2).integers(9, size=50)
    nats, ranks, entropies = (
        value.numpy() for value in in_detail(torch.tensor(logits), torch.tensor(targets))
    )
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = probabilities[np.arange(50), targets]
    np.testing.assert_allclose(nats, -np.log(own))
    np.testing.assert_array_equal(ranks, (probabilities > own[:, None]).sum(axis=1) + 1)
    np.testing.assert_allclose(entropies, -(probabilities * np.log(probabilities)).sum(axis=1))


@given(st.lists(st.integers(1, 7), max_size=6), st.randoms())
def test_groups_come_in_order_as_soon_as_they_can(sizes: list[int], random: "object") -> None:
    pieces, begin, expected = [], 0, []
    for size in sizes:
        places = list(range(begin, begin + size))
        random.shuffle(places)  # type: ignore[attr-defined]
        cut = random.randint(0, size)  # type: ignore[attr-defined]
        pieces += [np.array(part, dtype=np.int64) for part in (places[:cut], places[cut:])]
        begin += size
        expected.append(begin)
    found = list(in_order((piece, (piece * 10,)) for piece in pieces))
    together = [place for places, _ in found for place in places.tolist()]
    assert together == list(range(begin))
    assert [value for _, (values,) in found for value in values.tolist()] == [
        10 * place for place in together
    ]


def test_a_serial_pass_holds_nothing_back() -> None:
    model, text = model_of(), TOKENIZER.decode(text_of(5 * scoring.MAX_STEPS).ids)
    ran: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: ran.append(inputs[0].shape[1]))
    next(surprisals(model, TOKENIZER, text, PROTOCOLS["exact"]))
    assert len(ran) == 1
