from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.evaluation.dependence import input_gradients
from charrnn.model.network import CharRNN, build

LENGTH, LAGS = 90, 12
KINDS = [{"cell": cell} for cell in CELLS] + [{"attention": 7}, {"hidden_size": 5, "tied": True}]


def naive(model: CharRNN, ids: np.ndarray[Any, Any], place: int) -> np.ndarray[Any, Any]:
    """Run the whole text up to one prediction, and differentiate by every symbol before it."""
    inputs = torch.tensor([[model.start, *ids[:place].tolist()]])
    found: list[torch.Tensor] = []
    handle = model.embedding.register_forward_hook(
        lambda *call: found.append(call[2].detach().requires_grad_()) or found[0]
    )
    logits, _ = model(inputs)
    handle.remove()
    loss = functional.cross_entropy(logits[0, -1:], torch.tensor(ids[place : place + 1]))
    (gradient,) = torch.autograd.grad(loss, found[0])
    return gradient[0, 1:].norm(dim=1).flip(0).numpy()  # without the start symbol


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_the_norms_are_those_of_the_whole_text(settings: dict[str, Any]) -> None:
    config = ModelConfig(**{"vocab_size": 7, "hidden_size": 6, "embedding_size": 5} | settings)
    model = build(config, seed=1)
    ids = np.random.default_rng(1).integers(0, 7, LENGTH)
    found = input_gradients(model, ids, LAGS)
    assert found.shape == (LENGTH, LAGS)
    assert not found[0].any()
    for place in (1, 5, LAGS - 1, LAGS, LAGS + 1, 64 + LAGS, LENGTH - 1):
        expected = np.zeros(LAGS)
        own = naive(model.eval(), ids, place)[:LAGS]
        expected[: len(own)] = own
        np.testing.assert_allclose(found[place], expected, rtol=2e-4, atol=1e-6)


def test_the_model_is_as_before() -> None:
    model = build(ModelConfig(vocab_size=7, hidden_size=6, dropout=0.5), seed=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = input_gradients(model, np.arange(7), 3)
    assert model.training
    assert not model.embedding._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_array_equal(input_gradients(model, np.arange(7), 3), first)


@pytest.mark.parametrize("length", [1, 2])
def test_a_text_may_be_very_short(length: int) -> None:
    model = build(ModelConfig(vocab_size=7, hidden_size=6), seed=1)
    assert input_gradients(model, np.arange(length), 5).shape == (length, 5)
