"""Segments are scored side by side only where that gives what a serial pass gives."""

from typing import Any

import pytest
import torch
from test_scoring import TOKENIZER, bare, model_of, text_of

from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import evaluate, token_nats
from charrnn.evaluation.warm_up import MAX_DIFFERENCE, settled, warm_up_difference
from charrnn.model.network import CharRNN

CARRIED, EXACT = ScoringProtocol.carried(), ScoringProtocol.exact()


def long_memory() -> CharRNN:
    """A model whose states keep most of what they were for thousands of steps."""
    model = model_of("mingru", forget_bias=10.0)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(0.7)
    return model


@pytest.mark.parametrize(
    ("cell", "settings", "expected"),
    [
        ("lstm", {}, "state:carried-warmup-512"),
        ("rnn", {}, "state:carried-warmup-512"),
        ("lstm", {"attention": 700}, "state:carried-warmup-700"),
        ("lstm", {"attention": 8}, "state:carried-warmup-512"),
    ],
    ids=str,
)
def test_a_model_that_forgets_is_scored_in_segments(
    cell: str, settings: dict[str, Any], expected: str
) -> None:
    model, text = model_of(cell, **settings), text_of(9000)
    chosen = settled(model, text, CARRIED)
    assert str(chosen) == expected
    near, exact = (evaluate(model, TOKENIZER, text, one) for one in (chosen, EXACT))
    assert near.nats_per_token == pytest.approx(exact.nats_per_token, abs=MAX_DIFFERENCE)


def test_a_model_that_remembers_is_scored_in_one_pass() -> None:
    model, text = long_memory(), text_of(9000)
    near, exact = (evaluate(model, TOKENIZER, text, one) for one in (CARRIED, EXACT))
    assert abs(near.nats_per_token - exact.nats_per_token) > MAX_DIFFERENCE
    assert settled(model, text, CARRIED) == EXACT


def test_the_difference_is_that_of_the_means_at_the_boundaries() -> None:
    model, text = long_memory(), text_of(3000)
    protocol = ScoringProtocol(segment=2048, warmup=512)
    losses = []
    for one in (protocol, EXACT):
        nats = torch.zeros(3000, dtype=torch.float64)
        for places, values in token_nats(model, text, one):
            nats[places] = torch.from_numpy(values)
        losses.append(nats[2048 : 2048 + 512].mean())
    found = warm_up_difference(model, text.ids, 512, [2048])
    assert found == pytest.approx(float(abs(losses[0] - losses[1])), abs=1e-6)


@pytest.mark.parametrize("protocol", [EXACT, ScoringProtocol.reset(16), ScoringProtocol(50, 20)])
def test_what_was_asked_for_by_name_stays(protocol: ScoringProtocol) -> None:
    assert settled(long_memory(), text_of(9000), protocol) == protocol


def test_a_text_of_one_segment_needs_no_warm_up() -> None:
    assert settled(long_memory(), bare(text_of(2048).ids), CARRIED) == CARRIED
