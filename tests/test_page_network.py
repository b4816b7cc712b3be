"""The page's network against the NumPy model, for every cell and option."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from all_pairs import all_pairs, settings_id
from page_scripts import Engine
from test_numpy_model import GRID, KINDS, both, config_of

from charrnn.config.model import ModelConfig
from charrnn.export.page.weights import FORMATS, pack, packed_size, unpack
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import TABLES

SYMBOLS, FEW = 1000, 200
LONG = all_pairs(
    KINDS,
    ({"attention": 1}, {"attention": 20}),
    ({"ngram_embedding": 0}, {"ngram_embedding": 2, "ngram_rows": 5003}),
)
LARGE = [
    {"ngram_embedding": 2, "ngram_rows": 1 << 20},
    {"ngram_embedding": 7, "ngram_rows": 100_003, "vocab_size": 3000},
]
SETTINGS = [*GRID, *LONG, *LARGE]


@cache
def engine() -> Engine:
    return Engine()


def reference(config: ModelConfig, ids: np.ndarray[Any, Any], weights: Any) -> Any:
    model = NumpyModel(config, weights)
    logits, _ = model.run(ids[None], model.initial_state(1))
    return logits[0]


def weights_of(config: ModelConfig) -> dict[str, Any]:
    weights = {name: one.numpy() for name, one in both(config)[0].state_dict().items()}
    if config.activation == "relu":  # whose states would grow without bound in so many steps
        weights = {name: one * (0.4 if "hh" in name else 1) for name, one in weights.items()}
    return weights


def some_ids(config: ModelConfig, count: int) -> np.ndarray[Any, Any]:
    ids = np.random.default_rng(3).integers(0, config.vocab_size, count)
    ids[0] = config.vocab_size  # the start symbol
    return ids


@pytest.mark.parametrize("settings", SETTINGS, ids=settings_id)
def test_computes_the_numpy_models_logits_over_many_symbols(
    settings: dict[str, Any], pytestconfig: pytest.Config
) -> None:
    config, count = config_of(**settings), SYMBOLS if pytestconfig.getoption("--slow") else FEW
    weights, ids = weights_of(config), some_ids(config, count)
    engine().load(config, weights, "fp32")
    np.testing.assert_allclose(
        engine().logits(ids), reference(config, ids, weights), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_number_format_is_unpacked_as_python_unpacks_it(
    number_format: str, cell: str
) -> None:
    config = config_of(cell=cell, hidden_size=21, num_layers=2)
    weights = weights_of(config)
    rounded = unpack(pack(weights, number_format))
    ids = some_ids(config, 50)
    engine().load(config, weights, number_format)
    np.testing.assert_allclose(
        engine().logits(ids), reference(config, ids, rounded), rtol=0, atol=1e-4
    )


def test_of_a_table_only_the_rows_that_are_not_zero_are_kept() -> None:
    rows = [1, 2, 70_000, 70_001, 300_000]
    table = np.zeros((400_000, 3), np.float32)
    table[rows] = np.random.default_rng(1).normal(size=(len(rows), 3))
    for number_format in FORMATS:
        packed = pack({TABLES: table}, number_format)
        found = unpack(packed)[TABLES]
        assert np.flatnonzero(found.any(axis=1)).tolist() == rows
        np.testing.assert_allclose(found, table, atol=0.02)
        assert len(json.dumps(packed)) < 1000
    empty = pack({TABLES: np.zeros((10, 3), np.float32)}, "int8")
    assert not unpack(empty)[TABLES].any()


def test_int8_keeps_each_row_within_half_a_step_of_its_largest_entry() -> None:
    matrix = np.random.default_rng(1).normal(size=(5, 40)) * np.array([[1e-6, 1, 1e3, 0, 7]]).T
    found = unpack(pack({"w": matrix.astype(np.float32)}, "int8"))["w"]
    step = np.abs(matrix).max(axis=1) / 127
    assert (np.abs(found - matrix).max(axis=1) <= step * 0.501).all()
    assert not found[3].any()


@pytest.mark.parametrize("number_format", FORMATS)
def test_the_size_that_is_foreseen_is_that_of_the_data(number_format: str) -> None:
    weights = {"w": np.ones((7, 11), np.float32), "b": np.ones(7, np.float32)}
    weights[TABLES] = np.eye(20, dtype=np.float32)
    packed = pack(weights, number_format).values()
    found = sum(len(text) for one in packed for text in one.values() if isinstance(text, str))
    assert packed_size(weights, number_format) == pytest.approx(found, abs=8 * len(packed))
