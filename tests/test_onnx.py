"""ONNX export against the torch model, for every cell and option, and as a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from command_line import Terminal
from test_numpy_model import BATCH, KINDS, some_ids
from test_page_network import SETTINGS, config_of, weights_of

from charrnn.export import onnx_file
from charrnn.export.onnx_file import greatest_difference
from charrnn.export.onnx_graph import step_graph
from charrnn.model.network import CharRNN
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.tokenizers import CharTokenizer

onnxruntime = pytest.importorskip("onnxruntime")

TIME = 60
MATCHED = all_pairs(
    KINDS,
    ({"match_length": 1}, {"match_length": 2}, {"match_length": 4}),
    ({"match_window": 1}, {"match_window": 6}, {"match_window": 40}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "input"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "output"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "both"},
    ),
    ({"attention": 0}, {"attention": 5}),
    (
        {"embedding_size": 5},
        {"embedding_size": 16, "tied": True},
        {"embedding_size": 5, "adaptive": True},
    ),
)


def repeating_ids(model: NumpyModel) -> np.ndarray[Any, Any]:
    """Return texts of two symbols, of a word said over and over, and of a word with mistakes."""
    random = np.random.default_rng(3)
    ids = np.stack([random.integers(0, 2, TIME), *np.tile(np.arange(5), (2, TIME // 5))])
    wrong = random.random(TIME) < 0.1
    ids[2, wrong] = random.integers(0, model.start + 1, wrong.sum())
    ids[:, 0] = model.start
    return ids


@pytest.mark.parametrize("settings", [*SETTINGS, *MATCHED], ids=settings_id)
def test_computes_the_torch_models_logits(settings: dict[str, Any]) -> None:
    config = config_of(**settings)
    weights = weights_of(config)
    model = CharRNN(config).eval()
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    ids = (repeating_ids if config.match_window else some_ids)(NumpyModel(config, weights))
    with torch.no_grad():
        expected, expected_state = model(torch.from_numpy(ids))
        state = tuple(one.numpy() for one in model.initial_state(BATCH))

    graph = step_graph(config, weights).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    for time in range(ids.shape[1]):
        logits, *state = session.run(None, dict(zip(names, [ids[:, time], *state], strict=True)))
        np.testing.assert_allclose(logits, expected[:, time].numpy(), rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [*SETTINGS[::7], *MATCHED[::7]], ids=settings_id)
def test_the_difference_over_a_thousand_symbols_is_small(settings: dict[str, Any]) -> None:
    config = config_of(**settings)
    weights, tokenizer = weights_of(config), CharTokenizer("abcdefghij")
    graph = step_graph(config, weights).SerializeToString()
    assert 0 < greatest_difference(SavedModel(config, tokenizer, weights, {}), graph) < 1e-4


def test_a_wrong_graph_is_noticed(model: Path) -> None:
    saved = load_model(model)
    other = {name: value * 1.1 for name, value in saved.weights.items()}
    graph = step_graph(saved.config, other).SerializeToString()
    with pytest.raises(onnx_file.ModelFileError, match="differ from the model's by"):
        greatest_difference(saved, graph)


def test_the_file_says_what_it_is(model: Path, tmp_path: Path, charrnn: Terminal) -> None:
    path = tmp_path / "model.onnx"
    outcome = charrnn.ok("export", model, "--onnx", path)
    assert "model.onnx" in outcome.err
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    facts, saved = session.get_modelmeta().custom_metadata_map, load_model(model)
    assert json.loads(facts["config"]) == saved.config.to_dict()
    assert json.loads(facts["tokenizer"]) == saved.tokenizer.to_dict()
    assert facts["start"] == str(saved.config.vocab_size)
    assert facts["sha256"] == saved.sha256
    assert float(facts["greatest_difference"]) < 1e-4
    assert [one.shape[0] for one in session.get_inputs()] == ["batch"] * len(session.get_inputs())


def test_refusals(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("mine")
    assert charrnn("export", model, "--onnx", path).code == 5
    assert path.read_text() == "mine"
    charrnn.ok("export", model, "--onnx", path, "--force")
    assert charrnn("export", model).code == 2
    monkeypatch.setattr(onnx_file, "MAX_PARAMETERS", 10)
    outcome = charrnn("export", model, "--onnx", path, "--force")
    assert outcome.code == 2
    assert "at most 10" in outcome.err


def test_without_the_packages_it_says_how_to_install_them(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    outcome = charrnn("export", model, "--onnx", tmp_path / "model.onnx")
    assert outcome.code == 5
    assert "pip install 'charrnn[onnx]'" in outcome.err
