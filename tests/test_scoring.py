"""Scores against a sum that is taken one token at a time.

And of models whose score is known beforehand.
"""

import json
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded, EncodedSplit, encode_text
from charrnn.data.formats import PLAIN
from charrnn.evaluation import scoring
from charrnn.evaluation.score import PIECE, Score, ScoringProtocol, break_down
from charrnn.evaluation.scoring import evaluate, segments, token_nats
from charrnn.model.network import CharRNN, build
from charrnn.tokenizers import CharTokenizer
from charrnn.training.memory import max_tokens
from charrnn.training.trainer import Trainer

CARRIED, EXACT = ScoringProtocol.carried(), ScoringProtocol.exact()
TOKENIZER = CharTokenizer("abcdé€")
VOCAB = TOKENIZER.size
PROTOCOLS = {
    "exact": EXACT,
    "carried": CARRIED,
    "short segments": ScoringProtocol(segment=50, warmup=20),
    "more warm-up than segment": ScoringProtocol(segment=7, warmup=30),
    "reset": ScoringProtocol.reset(16),
    "reset at every token": ScoringProtocol.reset(1),
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())


def text_of(length: int, seed: int = 1, symbols: str = TOKENIZER.characters) -> Encoded:
    drawn = np.random.default_rng(seed).choice(list(symbols), size=length)
    return encode_text(TOKENIZER, "".join(drawn))


def bare(ids: np.ndarray) -> Encoded:
    """Return ids as a text of one byte each."""
    return Encoded(ids, len(ids), len(ids))


def model_of(cell: str = "lstm", **settings: Any) -> CharRNN:
    """A model that is sure of itself, so that a mistake in the order of anything shows."""
    sizes = {"vocab_size": VOCAB, "hidden_size": 8, "embedding_size": 5, "num_layers": 2}
    model = build(ModelConfig(cell=cell, **sizes | settings), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.5)
    return model


def uniform_model() -> CharRNN:
    model = model_of()
    with torch.no_grad():
        model.head_bias.zero_()
        model.get_parameter("head_weight").zero_()
    return model


@torch.no_grad()
def nats_one_by_one(model: CharRNN, ids: np.ndarray, protocol: ScoringProtocol) -> list[float]:
    """Score in float64, a token and a segment at a time."""
    model = build(model.config, seed=1).double().eval()
    model.load_state_dict(model_of(model.config.cell).state_dict())
    size, nats = protocol.segment or len(ids), []
    for begin in range(0, len(ids), size):
        state, previous = None, model.start
        for place in range(max(0, begin - protocol.warmup), min(begin + size, len(ids))):
            logits, state = model(torch.tensor([[previous]]), state)
            previous = int(ids[place])
            if place >= begin:
                nats.append(-float(logits[0, 0].log_softmax(dim=0)[previous]))
    return nats


@pytest.mark.parametrize("length", [1, 2, 7, 101, 257, 1009])
@every_protocol
def test_a_model_that_knows_nothing_has_a_perplexity_of_its_vocabulary(
    protocol: ScoringProtocol, length: int
) -> None:
    score = evaluate(uniform_model(), TOKENIZER, text_of(length), protocol)
    assert score.perplexity == pytest.approx(VOCAB, rel=1e-6)
    assert score.tokens == length


@pytest.mark.parametrize("cell", CELLS)
@every_protocol
def test_a_score_is_the_sum_over_tokens_taken_one_by_one(
    protocol: ScoringProtocol, cell: str
) -> None:
    text = text_of(333)
    score = evaluate(model_of(cell), TOKENIZER, text, protocol)
    assert score.nats == pytest.approx(
        sum(nats_one_by_one(model_of(cell), text.ids, protocol)), rel=1e-5
    )
    assert (score.tokens, score.characters, score.bytes) == (333, text.characters, text.bytes)


def test_in_one_pass_tokens_come_in_the_order_of_the_text() -> None:
    text = text_of(700)
    found = list(token_nats(model_of(), text, EXACT))
    assert np.array_equal(np.concatenate([places for places, _ in found]), np.arange(700))
    expected = nats_one_by_one(model_of(), text.ids, EXACT)
    np.testing.assert_allclose(
        np.concatenate([nats for _, nats in found]), expected, rtol=1e-4, atol=1e-5
    )


def test_a_reset_block_sees_the_one_token_before_it_and_no_other() -> None:
    """A change further back does not change the score of the block that begins at token 32.

    One at token 31 does.
    """

    def last_block(ids: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [nats for _, nats in token_nats(model_of(), bare(ids), ScoringProtocol.reset(16))]
        )[-16:]

    text, other = text_of(48).ids, text_of(48, seed=2).ids
    further_back = np.concatenate([other[:31], text[31:]])
    just_before = text.copy()
    just_before[31] = (text[31] + 1) % VOCAB
    assert np.array_equal(last_block(further_back), last_block(text))
    assert not np.array_equal(last_block(just_before), last_block(text))


def trained_model(text: Encoded) -> CharRNN:
    config = TrainConfig(steps=60, batch_size=8, seq_len=16, lr=0.02, eval_every=1000)
    data = EncodedSplit("text", "", PLAIN, TOKENIZER, train=text, valid=text)
    trainer = Trainer(build(model_of().config, seed=1), data, config, "fp32")
    for _ in range(config.steps):
        trainer.train_once()
    return trainer.model


def test_segments_after_a_warm_up_agree_with_one_serial_pass() -> None:
    text = encode_text(TOKENIZER, "abcd é€ dcba abba acca ".replace(" ", "a") * 220)
    model = trained_model(text)
    exact = evaluate(model, TOKENIZER, text, EXACT)
    far = evaluate(model, TOKENIZER, text, ScoringProtocol.reset(10))
    assert exact.nats_per_token < 1  # it has learned something that the state matters for
    for protocol in (ScoringProtocol(segment=150, warmup=60), CARRIED):
        near = evaluate(model, TOKENIZER, text, protocol)
        assert near.nats_per_token == pytest.approx(exact.nats_per_token, abs=0.001)
        assert near.nats != exact.nats  # there was more than one segment
    assert far.nats_per_token > exact.nats_per_token + 0.01


@pytest.mark.parametrize(("rows", "steps"), [(1, 256), (3, 5), (64, 1), (1000, 1000)])
@every_protocol
def test_how_many_are_scored_at_a_time_changes_no_result(
    protocol: ScoringProtocol, rows: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text_of(150)
    expected = evaluate(model_of(), TOKENIZER, text, protocol)
    monkeypatch.setattr(scoring, "MAX_ROWS", rows)
    monkeypatch.setattr(scoring, "MAX_STEPS", steps)
    score = evaluate(model_of(), TOKENIZER, text, protocol)
    assert score.nats == pytest.approx(expected.nats, rel=1e-6)
    assert score.tokens == expected.tokens


def test_memory_is_bounded_however_long_the_text() -> None:
    shapes: list[tuple[int, ...]] = []
    model = model_of()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    evaluate(model, TOKENIZER, text_of(3000), ScoringProtocol(segment=10, warmup=5))
    evaluate(model, TOKENIZER, text_of(3000), EXACT)
    assert max(rows for rows, _ in shapes) == scoring.MAX_ROWS
    assert max(steps for _, steps in shapes) == scoring.MAX_STEPS


@pytest.mark.parametrize("length", [1, 100, 2048, 5000, 40_000])
@pytest.mark.parametrize("record", [None, 1, 7, 400])
def test_so_many_tokens_are_scored_at_once(length: int, record: int | None) -> None:
    text = (
        text_of(length)
        if record is None
        else replace(text_of(length), starts=np.arange(0, length, record))
    )
    shapes: list[tuple[int, ...]] = []
    model = model_of()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    evaluate(model, TOKENIZER, text, ScoringProtocol.of(text))
    assert max(rows * steps for rows, steps in shapes) == max_tokens(text)


@given(
    length=st.integers(1, 500),
    segment=st.none() | st.integers(1, 600),
    warmup=st.integers(0, 600),
    rows=st.integers(1, 70),
)
def test_segments_hold_every_token_once_and_their_warm_up(
    length: int, segment: int | None, warmup: int, rows: int
) -> None:
    with mock.patch.object(scoring, "MAX_ROWS", rows):
        groups = list(segments(bare(np.zeros(length)), ScoringProtocol(segment, warmup)))
    tokens: list[int] = []
    for group in groups:
        assert len(group.end) <= rows
        assert group.longest == max(group.end - group.read_from)
        columns = (group.read_from, group.score_from, group.end)
        for read_from, score_from, end in np.hstack(columns).tolist():
            assert read_from == max(0, score_from - warmup)
            longest = segment * scoring.MAX_LENGTHENING if segment else length
            assert 0 < end - score_from <= longest
            tokens += range(score_from, end)
    assert tokens == list(range(length))


@every_protocol
def test_an_unknown_symbol_costs_the_models_price_and_a_choice_among_all_that_is_unknown(
    protocol: ScoringProtocol,
) -> None:
    text = text_of(120, symbols="abZ\U0001f469")
    assert (text.ids == TOKENIZER.unknown).sum() > 20
    nats = np.array(nats_one_by_one(model_of(), text.ids, protocol))
    strangers, outside = text.ids == TOKENIZER.unknown, 0x110000 - 0x800 - len(TOKENIZER.characters)
    score = evaluate(model_of(), TOKENIZER, text, protocol)
    assert score.unknown == strangers.sum()
    assert score.unknown_nats == pytest.approx(
        nats[strangers].sum() + strangers.sum() * math.log(outside), rel=1e-5
    )
    assert score.nats == pytest.approx(nats[~strangers].sum() + score.unknown_nats, rel=1e-5)
    assert score.perplexity_known == pytest.approx(math.exp(nats[~strangers].mean()), rel=1e-5)


@pytest.mark.parametrize("length", [1, 99, 100, 101, 250])
@every_protocol
def test_the_pieces_of_a_breakdown_hold_what_their_tokens_cost(
    protocol: ScoringProtocol, length: int
) -> None:
    text = text_of(length, symbols="abZ")
    found = break_down(token_nats(model_of(), text, protocol), TOKENIZER, text)
    nats = np.array(nats_one_by_one(model_of(), text.ids, protocol))
    nats += (text.ids == TOKENIZER.unknown) * TOKENIZER.unknown_nats
    cuts = range(PIECE, length, PIECE)
    np.testing.assert_allclose(found.nats, [part.sum() for part in np.split(nats, cuts)], rtol=1e-5)
    assert found.characters.tolist() == [len(part) for part in np.split(nats, cuts)]
    assert not found.by_record


def test_records_are_pieces_whatever_order_they_are_scored_in() -> None:
    text = replace(text_of(60), starts=np.array([0, 5, 7, 40]))
    found = break_down(token_nats(model_of(), text, ScoringProtocol.records()), TOKENIZER, text)
    places, nats = zip(*token_nats(model_of(), text, ScoringProtocol.records()), strict=True)
    losses = np.zeros(60)
    losses[np.concatenate(places)] = np.concatenate(nats)
    expected = [losses[begin:end].sum() for begin, end in ((0, 5), (5, 7), (7, 40), (40, 60))]
    np.testing.assert_allclose(found.nats, expected)
    assert (found.characters.tolist(), found.by_record) == ([5, 2, 33, 20], True)


def test_a_long_text_has_longer_segments_so_that_less_is_warm_up() -> None:
    def size(length: int, protocol: ScoringProtocol) -> int:
        group = next(segments(bare(np.zeros(length)), protocol))
        return int(group.end[0, 0] - group.score_from[0, 0])

    protocol = ScoringProtocol(segment=10, warmup=5)
    for length, expected in ((640, 10), (641, 11), (64 * 30, 30), (64 * 200, 80)):
        assert size(length, protocol) == expected
    assert size(64 * 200, ScoringProtocol.reset(10)) == 10, "a block is what was asked for"


def test_a_large_vocabulary_takes_fewer_steps_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_LOGITS", 3 * VOCAB * 64)
    shapes: list[tuple[int, ...]] = []
    model = model_of()
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    evaluate(model, TOKENIZER, text_of(3000), ScoringProtocol(segment=10, warmup=5))
    assert max(steps for rows, steps in shapes if rows == 64) == 3


def test_without_unknown_symbols_nothing_is_charged() -> None:
    score = evaluate(model_of(), TOKENIZER, text_of(50), EXACT)
    assert (score.unknown, score.unknown_nats) == (0, 0.0)
    assert score.perplexity_known == score.perplexity


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_protocol
def test_scoring_leaves_everything_as_it_was(protocol: ScoringProtocol, training: bool) -> None:
    model = model_of(dropout=0.5).train(training)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (evaluate(model, TOKENIZER, text_of(90), protocol) for _ in range(2))
    assert first == second
    assert [module.training for module in model.modules()] == [training] * len(
        list(model.modules())
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in model.parameters()
    )


def test_a_pass_that_fails_or_is_left_midway_restores_the_mode_too() -> None:
    model, text = model_of().train(), text_of(600)
    broken = ZeroDivisionError()

    def failing() -> AbstractContextManager[None]:
        raise broken

    with pytest.raises(ZeroDivisionError):
        evaluate(model, TOKENIZER, text, EXACT, autocast=failing)
    assert model.training
    tokens = token_nats(model, text, EXACT)
    next(tokens)
    assert not model.training
    tokens.close()
    assert model.training


def test_each_run_of_the_model_gets_a_context_of_its_own() -> None:
    made: list[AbstractContextManager[None]] = []

    def context() -> AbstractContextManager[None]:
        made.append(nullcontext())
        return made[-1]

    evaluate(model_of(), TOKENIZER, text_of(2 * scoring.MAX_STEPS + 1), EXACT, autocast=context)
    assert len(made) == 3


def test_a_scores_units() -> None:
    score = Score(nats=12 * math.log(2), tokens=4, characters=6, bytes=8)
    assert score.nats_per_token == pytest.approx(3 * math.log(2))
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_char == pytest.approx(2)
    assert score.bits_per_byte == pytest.approx(1.5)
    assert score.perplexity_known == score.perplexity


def test_the_known_tokens_perplexity_leaves_the_unknown_out() -> None:
    score = Score(
        nats=10 + 3 * math.log(5), tokens=4, characters=4, bytes=4, unknown=1, unknown_nats=10
    )
    assert score.perplexity_known == pytest.approx(5)
    assert math.isnan(Score(10, 1, 1, 1, unknown=1, unknown_nats=10).perplexity_known)


def test_a_score_as_json_has_its_parts_and_what_follows_from_them() -> None:
    score = Score(
        nats=12 * math.log(2), tokens=4, characters=6, bytes=8, unknown=1, unknown_nats=2.5
    )
    found = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    parts = ("nats", "tokens", "characters", "bytes", "unknown", "unknown_nats")
    bits = ("bits_per_char", "bits_per_byte")
    derived = ("nats_per_token", "perplexity", "perplexity_known", *bits)
    assert found == {name: getattr(score, name) for name in (*parts, *derived)}


@pytest.mark.parametrize("nats", [710.0, 1e6, math.inf])
def test_a_perplexity_too_large_for_a_float_is_infinite(nats: float) -> None:
    assert Score(nats, 1, 1, 1).perplexity == math.inf


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (EXACT, "state:carried-exact"),
        (CARRIED, "state:carried-warmup-512"),
        (ScoringProtocol.reset(256), "state:reset-256"),
    ],
)
def test_a_protocol_names_itself(protocol: ScoringProtocol, name: str) -> None:
    assert str(protocol) == name
