"""Dynamic evaluation against its equation written out.

And the rule that scoring comes before learning.
"""

from typing import Any

import numpy as np
import pytest
import torch
from test_scoring import EXACT, TOKENIZER, model_of, nats_one_by_one, text_of, uniform_model
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.dynamic import DynamicConfig
from charrnn.data.encoding import encode_text
from charrnn.errors import UsageError
from charrnn.evaluation.dynamic import EPSILON, TABLE_LR, dynamic_nats
from charrnn.evaluation.scoring import break_down, evaluate
from charrnn.model.network import CharRNN, detach
from charrnn.model.shapes import TABLES

WITH_TABLES = {"ngram_embedding": 3, "ngram_rows": 40, "ngram_path": "both"}
CONFIG = DynamicConfig(dynamic_lr=0.01, dynamic_decay=0.05, dynamic_segment=16)


def losses(model: CharRNN, ids: np.ndarray, config: DynamicConfig = CONFIG) -> np.ndarray:
    found = list(dynamic_nats(model, ids, config))
    assert np.array_equal(np.concatenate([places for places, _ in found]), np.arange(len(ids)))
    return np.concatenate([nats for _, nats in found])


def losses_written_out(model: CharRNN, ids: np.ndarray, config: DynamicConfig) -> list[float]:
    """Follow Krause et al. weight by weight, each parameter an array of its own."""
    nats, state, of_rows = list[float](), None, list[np.ndarray]()
    names = [name for name, _ in model.eval().named_parameters() if name != TABLES]
    trained = {name: one.detach().numpy().copy() for name, one in model.named_parameters()}
    squares = {name: np.zeros_like(trained[name]) for name in names}
    before = np.concatenate([[model.start], ids[:-1]])
    for number, begin in enumerate(range(0, len(ids), config.dynamic_segment), 1):
        part = slice(begin, begin + config.dynamic_segment)
        logits, state = model(torch.tensor(before[part].astype(np.int64))[None], state)
        loss = functional.cross_entropy(
            logits[0], torch.tensor(ids[part].astype(np.int64)), reduction="none"
        )
        nats += loss.tolist()
        state = detach(state)
        model.zero_grad()
        loss.mean().backward()
        squares = {name: squares[name] + gradient_of(model, name) ** 2 for name in names}
        rms = {name: np.sqrt(total / number) for name, total in squares.items()}
        mean = np.concatenate([values.ravel() for values in rms.values()]).mean()
        for name in names:
            weights = model.get_parameter(name).detach().numpy()
            pull = np.minimum(1, config.dynamic_decay * rms[name] / mean)
            step = config.dynamic_lr * gradient_of(model, name) / (rms[name] + EPSILON)
            weights += pull * (trained[name] - weights) - step
        for table in model.tables():
            needed = np.unique(table.grad.coalesce().indices().numpy())
            gradient, weights = gradient_of(model, TABLES)[needed], table.detach().numpy()
            of_rows += list(gradient)
            scale = np.sqrt(np.mean(np.square(of_rows)))
            pull = config.dynamic_decay * (trained[TABLES][needed] - weights[needed])
            weights[needed] += pull - TABLE_LR * config.dynamic_lr * gradient / (scale + EPSILON)
    return nats


def gradient_of(model: CharRNN, name: str) -> np.ndarray:
    gradient = model.get_parameter(name).grad
    assert gradient is not None
    return gradient.to_dense().numpy()


@pytest.mark.parametrize("settings", [{}, WITH_TABLES], ids=["no tables", "tables"])
def test_it_is_its_equation(settings: dict[str, Any]) -> None:
    ids = text_of(100).ids
    written_out = losses_written_out(model_of(**settings), ids, CONFIG)
    np.testing.assert_allclose(losses(model_of(**settings), ids), written_out, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("changed", [17, 32, 40, 79, 95])
def test_a_later_token_never_changes_an_earlier_loss(cell: str, changed: int) -> None:
    """Bit for bit: what a token costs is settled before anything is learned from it."""
    ids = text_of(100).ids
    other = ids.copy()
    other[changed] = 1 + ids[changed] % (TOKENIZER.size - 1)
    first, second = losses(model_of(cell), ids), losses(model_of(cell), other)
    assert np.array_equal(first[:changed], second[:changed])
    assert first[changed] != second[changed]
    later = (changed // 16 + 1) * 16
    if later < 100:  # and something was learned from it
        assert not np.array_equal(first[later:], second[later:])


def test_the_first_segment_costs_what_it_costs_without_learning() -> None:
    ids = text_of(100).ids
    static = nats_one_by_one(model_of(), ids, EXACT)
    found = losses(model_of(), ids)
    np.testing.assert_allclose(found[:16], static[:16], rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[16:], static[16:], rtol=1e-3)


def test_with_steps_of_almost_nothing_it_is_the_static_score() -> None:
    text = text_of(200)
    found = losses(model_of(), text.ids, DynamicConfig(dynamic_lr=1e-12, dynamic_decay=0.0))
    assert found.sum() == pytest.approx(evaluate(model_of(), TOKENIZER, text, EXACT).nats, rel=1e-5)


def test_a_full_pull_holds_the_weights_where_they_were() -> None:
    """With a pull of 1 each step starts from the trained weights, so steps do not add up."""
    text = encode_text(TOKENIZER, "ab" * 400)
    free, held = (
        losses(model_of(), text.ids, DynamicConfig(dynamic_lr=0.002, dynamic_decay=decay))
        for decay in (0.0, 1.0)
    )
    static = evaluate(model_of(), TOKENIZER, text, EXACT).nats
    assert free.sum() < held.sum() < static


def test_a_text_that_repeats_itself_is_learned() -> None:
    text = encode_text(TOKENIZER, "abcd" * 200)
    found = losses(uniform_model(), text.ids, DynamicConfig(dynamic_lr=0.01))
    assert found[:32].mean() == pytest.approx(np.log(TOKENIZER.size), rel=1e-5)
    assert found[-100:].mean() < 0.3


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_model_and_every_generator_stay_as_they_were(training: bool) -> None:
    model = model_of(dropout=0.5).train(training)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = losses(model, text_of(90).ids), losses(model, text_of(90).ids)
    assert np.array_equal(first, second)
    assert model.training == training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tied_weights_learn_together_and_unknown_symbols_are_charged() -> None:
    model = model_of(tied=True, embedding_size=8)
    text = text_of(120, symbols="abZ")
    score = break_down(dynamic_nats(model, text.ids, CONFIG), TOKENIZER, text).score
    assert score.unknown == (text.ids == TOKENIZER.unknown).sum() > 0
    assert score.nats == pytest.approx(
        losses(model, text.ids).sum() + score.unknown * TOKENIZER.unknown_nats
    )


def test_it_names_itself_and_checks_its_settings() -> None:
    assert str(CONFIG) == "state:dynamic-16-lr-0.01-decay-0.05"
    for name, value in (("dynamic_lr", -1.0), ("dynamic_decay", 2.0), ("dynamic_segment", 0)):
        with pytest.raises(UsageError, match=f"`{name}` must be"):
            DynamicConfig(**{name: value})  # type: ignore[arg-type]
