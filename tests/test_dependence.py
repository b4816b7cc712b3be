from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.evaluation.dependence import input_gradients
from charrnn.model.network import CharRNN, build
from charrnn.model.ngram_hash import ngram_rows

LENGTH, LAGS = 90, 12
KINDS = [{"cell": cell} for cell in CELLS] + [{"attention": 7}, {"hidden_size": 5, "tied": True}]
NGRAMS = {"ngram_embedding": 4, "ngram_rows": 23}


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


def with_ngrams(model: CharRNN, ids: np.ndarray[Any, Any], norms: Any) -> np.ndarray[Any, Any]:
    """Add, for each symbol, what the n-grams that it is in do in the next inputs."""
    assert model.ngrams is not None
    last = model.config.ngram_embedding - 1
    codes = np.concatenate([np.zeros(last, np.int64), ids + 1])
    table, total = model.ngrams.weight.detach(), norms.copy()
    for lag in range(len(norms)):
        for later in range(1, min(last, lag) + 1):
            place = len(norms) - 1 - lag + later  # of the input
            rows = ngram_rows(codes[None, place : place + last + 1], model.config)
            vectors = [table[int(row[0, 0])] for row in rows]  # of orders 2, 3, ...
            whole = model.embedding.weight[ids[place]] + torch.stack(vectors).sum(dim=0)
            part = torch.stack(vectors[later - 1 :]).sum(dim=0)
            total[lag] += norms[lag - later] * float(part.norm() / whole.detach().norm())
    return total


def past(model: CharRNN, ids: np.ndarray[Any, Any], place: int) -> Any:
    """Return, for each symbol, what the last n-grams that it is in do in the output layer's input.

    The gradient is that of a softmax, written out.
    """
    last = model.config.ngram_embedding - 1
    codes = np.concatenate([np.zeros(last, np.int64), ids + 1])[place - 1 : place + last]
    rows = ngram_rows(codes[None], model.config)
    vectors = torch.stack([model.ngrams.weight[int(row[0, 0])] for row in rows]).detach()
    logits = model(torch.tensor([[model.start, *ids[:place].tolist()]]))[0][0, -1].detach()
    error = logits.softmax(0) - functional.one_hot(torch.tensor(ids[place]), len(logits))
    gradient = error @ model.head_weight.detach() @ model.ngrams.skip.weight.detach()
    total = np.zeros(place)
    for lag in range(min(place, last + 1)):
        part = vectors[max(0, lag - 1) :].sum(dim=0).norm() / vectors.sum(dim=0).norm()
        total[lag] = float(gradient.norm() * part)
    return total


@pytest.mark.parametrize("path", ["input", "output", "both"])
def test_a_symbol_counts_wherever_n_grams_carry_it(path: str) -> None:
    shape = {"vocab_size": 7, "hidden_size": 6, "embedding_size": 5, "ngram_path": path}
    model = build(ModelConfig(**shape, **NGRAMS), seed=1)
    ids = np.random.default_rng(1).integers(0, 7, 40)
    if path == "input":
        plain = input_gradients(model, ids, LAGS)[30]  # the tables are zero at first
        np.testing.assert_allclose(plain, naive(model.eval(), ids, 30)[:LAGS], rtol=2e-4, atol=1e-6)
    with torch.no_grad():
        model.ngrams.weight.normal_()
    found = input_gradients(model, ids, LAGS)
    for place in (1, 5, 30):
        expected = naive(model, ids, place)
        expected = expected if path == "output" else with_ngrams(model, ids, expected)
        expected = (expected if path == "input" else expected + past(model, ids, place))[:LAGS]
        np.testing.assert_allclose(found[place, : len(expected)], expected, rtol=2e-4, atol=1e-6)
        assert not found[place, len(expected) :].any()


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


def copies(model: CharRNN, ids: np.ndarray[Any, Any], place: int) -> Any:
    """Return, for each symbol, the norms of the gradients of the embeddings copied from it.

    The network is run with its own parts, on matches that are found by comparing lists.
    """
    config, width = model.config, model.config.embedding_size
    inputs = [model.start, *ids[:place].tolist()]
    sources = [[latest(inputs[: end + 1], n) for n in config.match_lengths] for end in range(place)]
    sources.append([latest(inputs, n) for n in config.match_lengths])
    rows = [[model.embedding.weight[inputs[one]] * (one > 0) for one in row] for row in sources]
    found = torch.stack([torch.cat(row) for row in rows])[None].detach().requires_grad_()
    values = model.matches.into_input(model.embedding(torch.tensor([inputs])), found)
    for layer, state in zip(model.layers, model.cell_states(model.initial_state(1)), strict=True):
        values, _ = layer(values, state)
    values = model.matches.into_output(values, found)
    model.loss(values[:, -1:], torch.tensor(ids[None, place : place + 1])).backward()
    total = np.zeros(place)
    for row, gradient in zip(sources, found.grad[0], strict=True):
        for one, norm in zip(row, gradient.view(-1, width).norm(dim=1), strict=True):
            if one > 0:
                total[place - one] += float(norm)  # input `one` is symbol `one - 1`
    return total


def latest(inputs: list[int], length: int) -> int:
    """Return the place of what followed the last `length` inputs when they came before, or 0."""
    for end in range(len(inputs) - 1, length - 1, -1):
        if inputs[end - length : end] == inputs[-length:]:
            return end
    return 0


def test_a_symbol_counts_wherever_a_match_copies_it() -> None:
    shape = {"vocab_size": 4, "hidden_size": 6, "embedding_size": 5}
    model = build(ModelConfig(**shape, match_window=40, match_length=1), seed=1).eval()
    for weight in model.matches.parameters():
        torch.nn.init.normal_(weight)
    ids = np.random.default_rng(1).integers(0, 4, 40)
    found = input_gradients(model, ids, 40)
    for place in (1, 5, 30):
        expected = naive(model, ids, place) + copies(model, ids, place)
        np.testing.assert_allclose(found[place, :place], expected, rtol=2e-4, atol=1e-6)
