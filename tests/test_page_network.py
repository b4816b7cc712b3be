"""The page's network against the NumPy model, for every cell and option."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from all_pairs import all_pairs, settings_id
from hypothesis import example, given, settings
from hypothesis import strategies as st
from page_scripts import Engine
from test_numpy_model import GRID, KINDS, both, config_of

from charrnn.config.model import ModelConfig
from charrnn.data.encoding import Encoded
from charrnn.export.page.coder import DIGITS, encode
from charrnn.export.page.weights import FORMATS, LARGEST, largest_size, pack, row_use
from charrnn.model.ngram_hash import ngram_rows
from charrnn.model.numpy_matches import followers
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import TABLES

SYMBOLS, FEW = 1000, 200
LONG = all_pairs(
    KINDS,
    ({"attention": 1}, {"attention": 20}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 2, "ngram_rows": 1 << 12, "ngram_path": "input"},
        {"ngram_embedding": 2, "ngram_rows": 1 << 12, "ngram_path": "output"},
        {"ngram_embedding": 2, "ngram_rows": 1 << 12, "ngram_path": "both"},
    ),
)
MATCHES = all_pairs(
    ({"match_length": 1}, {"match_length": 2}, {"match_length": 4}),
    ({"match_window": 10}, {"match_window": 40}, {"match_window": 1 << 12}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "input"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "output"},
        {"ngram_embedding": 4, "ngram_rows": 20, "ngram_path": "both"},
    ),
    (
        {"embedding_size": 16, "residual": True},
        {"embedding_size": 16, "tied": True},
        {"embedding_size": 5, "adaptive": True},
    ),
    ({"attention": 0}, {"attention": 7}),
    ({"cell": "lstm"}, {"cell": "mingru", "num_layers": 3}),
)
SETTINGS = [*GRID, *LONG, {"ngram_embedding": 7, "ngram_rows": 4_999, "vocab_size": 3000}]


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


@pytest.mark.parametrize("given_settings", SETTINGS, ids=settings_id)
def test_computes_the_numpy_models_logits_over_many_symbols(
    given_settings: dict[str, Any], pytestconfig: pytest.Config
) -> None:
    config = config_of(**given_settings)
    count = SYMBOLS if pytestconfig.getoption("--slow") else FEW
    weights, ids = weights_of(config), some_ids(config, count)
    engine().load(config, weights, "fp32")
    np.testing.assert_allclose(
        engine().logits(ids), reference(config, ids, weights), rtol=0, atol=1e-4
    )


def repeating_ids(config: ModelConfig, count: int) -> np.ndarray[Any, Any]:
    """Ids in which phrases come back, some of them changed, and so does the start symbol."""
    draws = np.random.default_rng(6)
    phrase = draws.integers(0, config.vocab_size, 17)
    phrases = [phrase[: draws.integers(3, 18)] for _ in range(count)]
    ids = np.concatenate([some_ids(config, 1), *phrases])[:count]
    changed = draws.random(count) < 0.05
    ids[changed] = draws.integers(0, config.vocab_size + 1, changed.sum())
    return ids


@pytest.mark.parametrize("given_settings", MATCHES, ids=settings_id)
def test_finds_what_followed_the_last_symbols_as_the_numpy_model_does(
    given_settings: dict[str, Any],
) -> None:
    config = config_of(**given_settings)
    weights, ids = weights_of(config), repeating_ids(config, FEW)
    expected = reference(config, ids, weights)
    engine().load(config, weights, "fp32")
    np.testing.assert_allclose(engine().logits(ids), expected, rtol=0, atol=1e-4)
    for name in ("matches.input_weight", "matches.output_weight"):
        without = weights | {name: np.zeros_like(weights[name])}
        assert np.abs(reference(config, ids, without) - expected).max() > 0.1


@settings(max_examples=60)
@given(
    codes=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    length=st.integers(1, 5),
    window=st.integers(1, 30),
    forks=st.booleans(),
)
@example(codes=[1, 0, 0, 2, 0], length=1, window=4, forks=True)
@example(codes=[1] * 40, length=4, window=2, forks=True)
def test_finds_the_matches_that_numpy_finds_from_any_state(
    codes: list[int], length: int, window: int, forks: bool
) -> None:
    config = config_of(match_length=length, match_window=window)
    padded = np.array([0] * config.match_history + codes, np.float32)
    ends = range(config.match_history + 1, len(padded) + 1)
    expected = [followers(padded[end - 1 - config.match_history : end], config) for end in ends]
    found = engine().call(
        "{ let history = emptyHistory(config); return codes.map((code) => { if (forks) "
        "longerHistory(history, 3, config); history = longerHistory(history, code, config); "
        "return followers(history, config); }); }",
        config=config.to_dict(),
        codes=codes,
        forks=forks,
    )
    assert found == expected


@pytest.mark.parametrize("length", range(1, 17))
def test_looks_for_matches_of_the_same_lengths(length: int) -> None:
    config = config_of(match_length=length)
    found = engine().call("matchLengths(config)", config=config.to_dict())
    assert tuple(found) == config.match_lengths


def test_any_number_of_texts_go_on_from_a_state() -> None:
    config = config_of(match_length=1, match_window=10)
    weights, ids = weights_of(config), repeating_ids(config, 60)
    engine().load(config, weights, "fp32")
    found = engine().call(
        "{ const read = (part, state) => part.map((id) => { const after = network.step(id, state); "
        "state = after.state; states.push(state); return Array.from(after.logits); }); const "
        "states = []; read(first, network.initialState()); const state = states.at(-1); "
        "return texts.map((text) => read(text, state)); }",
        first=ids[:30].tolist(),
        texts=[ids[30:].tolist(), ids[::-1].tolist(), ids[30:].tolist()],
    )
    for text, logits in zip((ids[30:], ids[::-1], ids[30:]), found, strict=True):
        expected = reference(config, np.concatenate([ids[:30], text]), weights)[30:]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_model_of_before_there_were_matches_has_none() -> None:
    config = config_of()
    weights, ids = weights_of(config), some_ids(config, 20)
    engine().load(config, weights, "fp32")
    engine().run("delete network.config.match_window; delete network.config.match_length;")
    engine().run("network = new Network(network.config, network.weights);")
    np.testing.assert_allclose(
        engine().logits(ids), reference(config, ids, weights), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_number_format_is_unpacked_as_python_unpacks_it(
    number_format: str, cell: str
) -> None:
    config = config_of(cell=cell, hidden_size=21, num_layers=2, match_window=20, match_length=1)
    weights = weights_of(config)
    rounded = {name: one.values for name, one in pack(weights, number_format).items()}
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
        use = np.ones(len(table))  # all are read at every symbol, so that all are exact
        found = pack({TABLES: table}, number_format, use)[TABLES]
        assert np.flatnonzero(found.values.any(axis=1)).tolist() == rows
        np.testing.assert_allclose(found.values, table, atol=0.05)
        assert len(json.dumps(found.data)) < 7000
    empty = pack({TABLES: np.zeros((10, 3), np.float32)}, "int8")
    assert not empty[TABLES].values.any()


def test_rows_that_are_seldom_read_are_rounded_more_coarsely_down_to_nothing() -> None:
    table = np.random.default_rng(2).normal(size=(4000, 16)).astype(np.float32)
    use = np.repeat([1e-2, 1e-4, 1e-6, 1e-9], 1000)
    found = pack({TABLES: table}, "int8", use)[TABLES]
    errors = np.abs(found.values - table).reshape(4, -1).mean(axis=1)
    assert (np.diff(errors) > 0).all()
    assert errors[0] < 0.1
    assert not found.values[3000:].any()
    assert len(json.dumps(found.data)) < table.size


@pytest.mark.parametrize("starts", [None, [0, 3, 4]])
def test_the_use_of_a_row_is_how_often_the_network_reads_it(starts: list[int] | None) -> None:
    config = config_of(ngram_embedding=3, ngram_rows=50)
    ids = np.random.default_rng(5).integers(0, config.vocab_size, 9).astype(np.uint8)
    places = [0] if starts is None else starts
    text = Encoded(ids, 9, 9, None if starts is None else np.array(starts))
    weights = weights_of(config)
    model = NumpyModel(config, weights)
    read = np.zeros(len(weights[TABLES]))
    for begin, end in zip(places, [*places[1:], len(ids)], strict=True):
        state = model.initial_state(1)
        for symbol in [model.start, *ids[begin:end]]:
            codes = np.append(state[-1], (symbol + 1) % (model.start + 1)).astype(np.int64)
            if symbol != model.start:
                for rows in ngram_rows(codes[None], config):
                    read[rows[0]] += 1
            _, state = model.step(np.array([symbol]), state)
    found = row_use(config, text) * len(ids)
    assert (found[read > 0] >= read[read > 0]).all()
    between = 2 * 2 * (len(places) - 1)  # rows that are only read across two records
    assert found.sum() - 0.5 * len(read) - read.sum() == between


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(0, 255), max_size=300),
    times=st.sampled_from([1, 1, 30]),
)
@example(values=[], times=1)
@example(values=[0], times=5000)
@example(values=[*range(256)], times=17)
@example(values=[0] * 2047 + [255], times=3)
def test_bytes_that_are_coded_come_back(values: list[int], times: int) -> None:
    data = bytes(values) * times
    coded = encode(data)
    assert set(coded["text"].encode()) <= set(DIGITS)
    assert bytes(engine().call("Array.from(decode(coded))", coded=coded)) == data


def test_the_code_is_about_as_short_as_the_entropy() -> None:
    numbers = np.rint(np.random.default_rng(4).normal(size=100_000) * 0.7).astype(np.int8)
    counts = np.unique(numbers, return_counts=True)[1] / len(numbers)
    entropy = -(counts * np.log2(counts)).sum() * len(numbers)  # bits, of which a character has 6.5
    assert entropy / 6.5 < len(encode(numbers.tobytes())["text"]) < 1.02 * entropy / 6.5


def test_int8_keeps_each_row_within_half_a_step_of_its_largest_entry() -> None:
    matrix = np.random.default_rng(1).normal(size=(5, 40)) * np.array([[1e-6, 1, 1e3, 0, 7]]).T
    found = pack({"w": matrix.astype(np.float32)}, "int8")["w"].values
    step = np.abs(matrix).max(axis=1) / LARGEST
    assert (np.abs(found - matrix).max(axis=1) <= step * 0.501).all()
    assert not found[3].any()


@pytest.mark.parametrize("number_format", FORMATS)
def test_the_size_that_is_foreseen_is_about_that_of_the_data(number_format: str) -> None:
    weights = {"w": np.random.default_rng(1).normal(size=(500, 300)).astype(np.float32)}
    weights[TABLES] = np.eye(20, dtype=np.float32)
    found = len(json.dumps([one.data for one in pack(weights, number_format).values()]))
    assert largest_size(weights, number_format) == pytest.approx(found, rel=0.15, abs=2000)
