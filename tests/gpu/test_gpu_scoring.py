"""Scores on a GPU are those on the CPU, whoever trained the model, and NumPy samples from it."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparison import NATS, RELATIVE, saved, sentences, trainer_on

from charrnn.api import Model
from charrnn.config.cells import CELLS
from charrnn.config.dynamic import DynamicConfig
from charrnn.data.encoding import encode_text
from charrnn.data.formats import RecordFormat
from charrnn.evaluation.score import ScoringProtocol
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.model_file import load_model, save_model

pytestmark = pytest.mark.gpu

PROTOCOLS = {
    "carried": ScoringProtocol(segment=100, warmup=30),
    "exact": ScoringProtocol.exact(),
    "reset": ScoringProtocol.reset(50),
    "records": ScoringProtocol.records(),
}
MODELS: dict[str, dict[str, Any]] = {
    **{cell: {"cell": cell} for cell in CELLS},
    "attention": {"attention": 24},
    "adaptive": {"adaptive": True},
    "tied": {"tied": True, "embedding_size": 64},
}
TEXT = sentences(60)[-1500:]


@cache
def model_trained_on(device: str, name: str) -> Model:
    trainer = trainer_on(device, **MODELS[name])
    for _ in range(8):
        trainer.train_once()
    return Model(saved(trainer))


def spread(values: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.abs(values - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", MODELS)
def test_a_text_scores_the_same_by_every_protocol(gpu: str, name: str, protocol: str) -> None:
    model = model_trained_on(gpu, name)
    text = encode_text(model.tokenizer, TEXT, RecordFormat("\n"))
    one, other = (
        model.score(text, protocol=PROTOCOLS[protocol], device=device) for device in (gpu, "cpu")
    )
    assert one.nats == pytest.approx(other.nats, rel=RELATIVE)
    assert (one.tokens, one.unknown) == (other.tokens, other.unknown)


@pytest.mark.parametrize("name", MODELS)
def test_in_bfloat16_a_text_scores_about_the_same(gpu: str, name: str) -> None:
    model = model_trained_on(gpu, name)
    one = model.score(TEXT, device=gpu, precision="bf16")
    assert one.nats_per_token == pytest.approx(model.score(TEXT).nats_per_token, abs=NATS)


@pytest.mark.parametrize("name", MODELS)
def test_lines_tokens_and_dynamic_evaluation_score_the_same(gpu: str, name: str) -> None:
    model = model_trained_on(gpu, name)
    encoded, dynamic = model.encode(TEXT), DynamicConfig()
    found = []
    for device in (gpu, "cpu"):
        scorer = model.scorer(device=device)
        lines = [score.nats for score in scorer.lines(TEXT.splitlines())]
        tokens = [one.bits for one in scorer.tokens(TEXT, PROTOCOLS["carried"], model.format)]
        found.append((lines, tokens, scorer.dynamic_score(encoded, dynamic).nats))
    (lines, tokens, nats), expected = found
    assert spread(np.array(lines), np.array(expected[0])) < RELATIVE
    assert spread(np.array(tokens), np.array(expected[1])) < RELATIVE
    assert nats == pytest.approx(expected[2], rel=RELATIVE)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_back_as_far(gpu: str, name: str) -> None:
    """In evaluation mode, in which cuDNN has no backward pass."""
    model = model_trained_on(gpu, name)
    one, other = (
        model.scorer(device=device).gradient_flow(model.encode(TEXT), lags=20)
        for device in (gpu, "cpu")
    )
    np.testing.assert_allclose(one.norms, other.norms, rtol=10 * RELATIVE)
    for gate, value in other.singular_values.items():
        assert one.singular_values[gate] == pytest.approx(value, rel=RELATIVE)


@pytest.mark.parametrize("name", MODELS)
def test_numpy_predicts_what_the_gpu_predicts(gpu: str, name: str) -> None:
    """So `sample`, which is NumPy's, writes with a model that was trained on a GPU."""
    model = model_trained_on(gpu, name)
    ids = encode_text(model.tokenizer, TEXT[:120]).ids.astype(np.int64)
    network = model.scorer(device=gpu).network
    with torch.inference_mode():
        logits, _ = network(torch.from_numpy(ids[None]).to(network.device))
    ours = NumpyModel(model.config, model.saved.weights)
    state, found = ours.initial_state(1), []
    for symbol in ids:
        values, state = ours.step(np.array([symbol]), state)
        found.append(values[0])
    centred = [
        values - values.mean(axis=-1, keepdims=True)
        for values in (np.array(found), logits[0].cpu().numpy())
    ]
    assert spread(*centred) < RELATIVE
    assert len(model.generate("the ", length=50, seed=1)) == 50


def test_a_model_file_from_a_gpu_is_one_like_any_other(gpu: str, tmp_path: Path) -> None:
    model = model_trained_on(gpu, "lstm")
    save_model(tmp_path / "model.safetensors", model.saved)
    loaded = load_model(tmp_path / "model.safetensors")
    for name, weights in model.saved.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weights)
    assert Model(loaded).generate("the ", length=30, seed=2) == model.generate(
        "the ", length=30, seed=2
    )
