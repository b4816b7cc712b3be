from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from models import perturbed

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.model import numpy_model
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel, State
from charrnn.model.shapes import weight_shapes

VOCAB, BATCH, TIME = 11, 3, 7
KINDS = (
    {"cell": "rnn", "activation": "tanh"},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "rnn", "activation": "sigmoid"},
    *({"cell": cell} for cell in CELLS if cell != "rnn"),
)
# Equal sizes, so that a residual connection reaches the first layer too, and unequal ones.
GRID = all_pairs(
    KINDS,
    ({"num_layers": 1}, {"num_layers": 2}, {"num_layers": 3}),
    ({"layer_norm": False}, {"layer_norm": True}),
    ({"residual": False}, {"residual": True}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "input"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "output"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "both"},
    ),
    (
        {"match_window": 0},
        {"match_window": 9, "match_length": 1},
        {"match_window": 4, "match_length": 2},
    ),
    (
        {"embedding_size": 16},
        {"embedding_size": 5},
        {"embedding_size": 16, "tied": True},
        {"embedding_size": 5, "adaptive": True},
    ),
)


def config_of(**settings: Any) -> ModelConfig:
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 16, "embedding_size": 5}
    return ModelConfig(**sizes | settings)


every_config = pytest.mark.parametrize(
    "config", [config_of(**settings) for settings in GRID], ids=map(settings_id, GRID)
)
every_cell = pytest.mark.parametrize("cell", CELLS)


def both(config: ModelConfig) -> tuple[CharRNN, NumpyModel]:
    """A torch model, no weight of which starts so that it hides a mistake, and its NumPy twin."""
    model = perturbed(build(config, seed=1).eval())
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return model, NumpyModel(config, weights)


def some_ids(model: NumpyModel) -> np.ndarray:
    ids = np.random.default_rng(3).integers(0, VOCAB, (BATCH, TIME))
    ids[:, 0] = model.start
    return ids


def assert_same(state: State, expected: tuple[torch.Tensor, ...]) -> None:
    assert len(state) == len(expected)
    for ours, theirs in zip(state, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


@every_config
@torch.no_grad()
def test_equals_the_torch_model_in_one_piece_and_step_by_step(config: ModelConfig) -> None:
    torch_model, model = both(config)
    ids = some_ids(model)
    expected, expected_state = torch_model(torch.from_numpy(ids))

    logits, state = model.run(ids, model.initial_state(BATCH))
    assert logits.shape == (BATCH, TIME, VOCAB)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert_same(state, expected_state)

    state = model.initial_state(BATCH)
    for time in range(TIME):
        step_logits, state = model.step(ids[:, time], state)
        np.testing.assert_array_equal(step_logits, logits[:, time])


@every_cell
@torch.no_grad()
def test_continues_from_a_state_of_the_torch_model(cell: str) -> None:
    torch_model, model = both(config_of(cell=cell))
    first, second = np.split(some_ids(model), [4], axis=1)
    _, middle = torch_model(torch.from_numpy(first))
    expected, _ = torch_model(torch.from_numpy(second), middle)
    logits, _ = model.run(second, tuple(part.numpy() for part in middle))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)


@every_cell
def test_the_initial_state_is_the_torch_models(cell: str) -> None:
    torch_model, model = both(config_of(cell=cell))
    assert_same(model.initial_state(BATCH), torch_model.initial_state(BATCH))
    assert {part.dtype for part in model.initial_state(1)} == {np.dtype(np.float32)}
    assert model.start == torch_model.start


@every_config
def test_a_stream_does_not_depend_on_those_beside_it(config: ModelConfig) -> None:
    _, model = both(config)
    ids = some_ids(model)
    together, _ = model.run(ids, model.initial_state(BATCH))
    for stream in range(BATCH):
        alone, _ = model.run(ids[stream : stream + 1], model.initial_state(1))
        np.testing.assert_allclose(alone[0], together[stream], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=settings_id)
def test_a_step_changes_neither_what_it_is_given_nor_the_model(kind: dict[str, Any]) -> None:
    _, model = both(config_of(**kind, embedding_size=16, residual=True))
    ids = some_ids(model)
    _, state = model.run(ids, model.initial_state(BATCH))
    ids_before, state_before = ids.copy(), [part.copy() for part in state]
    first, _ = model.run(ids, state)
    np.testing.assert_array_equal(ids, ids_before)
    for part, before in zip(state, state_before, strict=True):
        np.testing.assert_array_equal(part, before)
    again, _ = model.run(ids, state)
    np.testing.assert_array_equal(again, first)


def test_the_weights_given_are_copied() -> None:
    config = config_of()
    weights = {
        name: np.full(shape, 0.1, np.float32) for name, shape in weight_shapes(config).items()
    }
    model = NumpyModel(config, weights)
    before, _ = model.step(np.array([0]), model.initial_state(1))
    for value in weights.values():
        value.fill(9)
    after, _ = model.step(np.array([0]), model.initial_state(1))
    np.testing.assert_array_equal(after, before)


def test_a_table_too_large_to_keep_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of()
    _, with_table = both(config)
    monkeypatch.setattr(numpy_model, "TABLE_LIMIT", 0)
    _, without = both(config)
    ids = some_ids(without)
    expected, _ = with_table.run(ids, with_table.initial_state(BATCH))
    logits, _ = without.run(ids, without.initial_state(BATCH))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@every_cell
def test_gates_saturate_without_a_warning(cell: str) -> None:
    """pytest turns an overflow warning into an error."""
    config = config_of(cell=cell)
    signs = np.random.default_rng(4)
    weights = {
        name: signs.choice([-1e4, 1e4], size=shape) for name, shape in weight_shapes(config).items()
    }
    model = NumpyModel(config, weights)
    logits, _ = model.run(some_ids(model), model.initial_state(BATCH))
    assert np.isfinite(logits).all()
    assert logits.dtype == np.float32
