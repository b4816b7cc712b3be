"""N-gram embeddings, against sums over dictionaries of Python integers."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.model import MAX_TABLES, ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import ModelFileError, UsageError
from charrnn.model.network import CharRNN, build
from charrnn.model.ngram_hash import ngram_rows
from charrnn.storage.sparse_rows import pack_rows, unpack_rows
from charrnn.training.optimizer import EPSILON, SQUARE_BETA, TABLE_LR, Optimizer
from charrnn.training.step import clip_gradients

VOCAB = 9


def config_of(highest: int = 4, rows: int = 50, **settings: Any) -> ModelConfig:
    sizes = {"vocab_size": VOCAB, "hidden_size": 8, "embedding_size": 5}
    return ModelConfig(ngram_embedding=highest, ngram_rows=rows, **sizes | settings)


def row_of(codes: list[int], rows: int) -> int:
    """Hash an n-gram, the newest symbol first, in Python integers."""
    factor = 0x9E3779B1
    total = sum(code * factor**place for place, code in enumerate(codes)) % 2**32
    total = (total ^ total >> 15) * 0x2C1B3C6D % 2**32
    return (total ^ total >> 13) % rows


def naive_rows(codes: list[int], config: ModelConfig) -> list[list[int]]:
    """Return the rows of each step: one for each order."""
    before = config.ngram_embedding - 1
    return [
        [
            row_of(codes[end - order : end][::-1], config.ngram_rows)
            + (order - 2) * config.ngram_rows
            for order in config.ngram_orders
        ]
        for end in range(before + 1, len(codes) + 1)
    ]


configs = st.builds(
    config_of, st.integers(2, 16), st.integers(1, 1 << 16), vocab_size=st.integers(2, 1 << 21)
)


@given(config=configs, data=st.data())
def test_rows_are_those_of_a_hash_in_python_integers(config: ModelConfig, data: Any) -> None:
    length = config.ngram_embedding - 1 + data.draw(st.integers(1, 6))
    symbols = st.integers(0, config.vocab_size)
    codes = data.draw(st.lists(symbols, min_size=length, max_size=length))
    expected = np.array(naive_rows(codes, config))
    for array in (np.array([codes, codes]), torch.tensor([codes, codes])):
        found = np.stack([np.asarray(rows) for rows in ngram_rows(array, config)], axis=-1)
        np.testing.assert_array_equal(found, [expected, expected])


def test_different_ngrams_fill_a_table_as_evenly_as_chance_would() -> None:
    config, count = config_of(2, rows=4096, vocab_size=100), 10_000
    pairs = np.array([(one, two) for one in range(100) for two in range(100)])
    (rows,) = ngram_rows(pairs, config)
    sizes = np.bincount(rows[:, 0], minlength=4096)
    assert sizes.sum() == count
    mean = count / 4096
    chi_square = ((sizes - mean) ** 2 / mean).sum()
    assert abs(chi_square - 4095) < 5 * (2 * 4095) ** 0.5


def with_tables(config: ModelConfig) -> CharRNN:
    model = build(config, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for table in model.tables():
        torch.nn.init.normal_(table, generator=generator)
    return model


@given(
    ids=st.lists(st.integers(0, VOCAB), min_size=1, max_size=20),
    cut=st.integers(0, 20),
    highest=st.integers(2, 6),
)
def test_a_sum_is_that_of_the_rows_of_the_symbols_just_read(
    ids: list[int], cut: int, highest: int
) -> None:
    config = config_of(highest)
    ngrams = with_tables(config).ngrams
    assert ngrams is not None
    codes = [0] * (highest - 1) + [0 if one == VOCAB else one + 1 for one in ids]
    expected = torch.stack([ngrams.weight[rows].sum(0) for rows in naive_rows(codes, config)])
    before, found = torch.zeros(1, highest - 1), []
    for part in (ids[:cut], ids[cut:]):
        if part:
            sums, before = ngrams(torch.tensor([part]), before)
            found.append(sums[0])
    torch.testing.assert_close(torch.cat(found), expected)
    assert before.dtype == torch.float32
    assert before.tolist() == [codes[len(codes) - highest + 1 :]]


def test_new_tables_change_nothing() -> None:
    ids = torch.arange(VOCAB)[None]
    with_them, without = build(config_of(), seed=3), build(config_of(0), seed=3)
    assert torch.equal(with_them(ids)[0], without(ids)[0])


@pytest.mark.parametrize("path", ["input", "output", "both"])
def test_the_paths_of_a_sum(path: str) -> None:
    """Beside a network of its own weights, step by step, whose tables say something at once."""
    model = with_tables(config_of(ngram_path=path, num_layers=2))
    ids = torch.tensor([[VOCAB, 3, 1, 4, 1, 5]])
    sums, _ = model.ngrams(ids, torch.zeros(1, 3))
    values = model.embedding(ids) + (sums if path in ("input", "both") else 0)
    for layer, state in zip(model.layers, model.cell_states(model.initial_state(1)), strict=True):
        values, _ = layer(values, state)
    if path in ("output", "both"):
        values = values + torch.einsum("bte,he->bth", sums, model.ngrams.skip.weight)
    torch.testing.assert_close(model.hidden(ids)[0], values)
    assert (model.ngrams.skip is None) == (path == "input")


def test_a_larger_vocabulary_keeps_the_rows_of_old_symbols_and_of_the_start() -> None:
    ids = torch.tensor([[3, 1, 4]])
    small, large = with_tables(config_of()), with_tables(config_of(vocab_size=VOCAB + 5))
    assert small.ngrams is not None
    assert large.ngrams is not None
    for one, other in ((ids, ids), (torch.tensor([[VOCAB, 2]]), torch.tensor([[VOCAB + 5, 2]]))):
        before = torch.zeros(1, 3)
        assert torch.equal(small.ngrams(one, before)[0], large.ngrams(other, before)[0])


def nats_of(model: CharRNN, ids: torch.Tensor) -> torch.Tensor:
    logits, _ = model(ids[:, :-1])
    return torch.nn.functional.cross_entropy(logits.mT, ids[:, 1:], reduction="sum")


def gradients_of(model: CharRNN, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    nats_of(model, ids).backward()
    found = {name: one.grad for name, one in model.named_parameters()}
    return {name: one.coalesce() if one.is_sparse else one for name, one in found.items()}  # type: ignore[union-attr]


def test_the_gradient_of_a_table_is_that_of_a_dense_one() -> None:
    config, ids = config_of(), torch.randint(0, VOCAB, (3, 12))
    model = with_tables(config).double()
    (table,) = model.tables()
    found = gradients_of(model, ids)["ngrams.weight"]
    assert found.is_sparse
    dense, epsilon = found.to_dense(), 1e-6

    def loss() -> float:
        with torch.no_grad():
            return float(nats_of(model, ids))

    for row in (*found.indices()[0, :4].tolist(), int((dense.abs().sum(1) == 0).nonzero()[0])):
        with torch.no_grad():
            table[row, 1] += epsilon
            above = loss()
            table[row, 1] -= 2 * epsilon
            below = loss()
            table[row, 1] += epsilon
        assert dense[row, 1].item() == pytest.approx((above - below) / (2 * epsilon), abs=1e-6)


@pytest.mark.parametrize("norm", [0.0, 0.3, 1e9])
@pytest.mark.parametrize("value", [0.0, 0.02])
def test_gradients_are_clipped_as_torch_clips_dense_ones(norm: float, value: float) -> None:
    model, ids = with_tables(config_of()), torch.randint(0, VOCAB, (3, 12))
    config = TrainConfig(clip_norm=norm, clip_value=value)
    for name, gradient in gradients_of(model, ids).items():
        model.get_parameter(name).grad = gradient.clone()
    stand_ins = [torch.nn.Parameter(one.detach().clone()) for one in model.parameters()]
    for stand_in, one in zip(stand_ins, model.parameters(), strict=True):
        assert one.grad is not None
        stand_in.grad = one.grad.to_dense().clone()
    expected = torch.nn.utils.clip_grad_norm_(stand_ins, norm or float("inf"))
    if value:
        torch.nn.utils.clip_grad_value_(stand_ins, value)
    torch.testing.assert_close(clip_gradients(model, config), expected)
    for stand_in, one in zip(stand_ins, model.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad.to_dense(), stand_in.grad)


def test_only_rows_with_a_gradient_change_and_as_numpy_computes_it() -> None:
    model = with_tables(config_of())
    optimizer, (table,) = Optimizer(model, TrainConfig()), model.tables()
    expected = table.detach().numpy().copy()
    square = np.zeros(len(expected))
    for step in range(1, 8):
        ids = torch.randint(0, VOCAB, (2, 5), generator=torch.Generator().manual_seed(step))
        for name, gradient in gradients_of(model, ids).items():
            model.get_parameter(name).grad = gradient
        assert table.grad is not None
        touched = table.grad.indices()[0].tolist()
        gradient = table.grad.to_dense().numpy()
        before = table.detach().clone()
        optimizer.step(0.01)
        optimizer.zero_grad()
        for row in touched:
            square[row] = SQUARE_BETA * square[row] + (1 - SQUARE_BETA) * np.mean(
                gradient[row] ** 2
            )
            size = np.sqrt(square[row] / (1 - SQUARE_BETA**step)) + EPSILON
            expected[row] -= 0.01 * TABLE_LR * gradient[row] / size
        np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
        rest = [row for row in range(len(expected)) if row not in touched]
        assert torch.equal(table[rest], before[rest])


tables = st.integers(0, 12).flatmap(
    lambda rows: st.lists(st.sampled_from([0.0, -0.0, 1.5]), min_size=rows * 3, max_size=rows * 3)
)


@given(values=tables, other=st.lists(st.floats(width=32, allow_nan=False), max_size=5))
def test_rows_of_zeros_are_not_stored_and_come_back(
    values: list[float], other: list[float]
) -> None:
    table = np.array(values, np.float32).reshape(-1, 3)
    arrays = {"model.ngrams.weight": table, "other": np.array(other, np.float32)}
    packed = pack_rows(arrays)
    assert len(packed["model.ngrams.weight"]) == table.any(axis=1).sum()
    unpacked = unpack_rows(packed, "a file")
    assert unpacked.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(unpacked[name], array)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        np.array([0, 2, 5], np.int32),
        np.array([0, 2]),
        np.array([[0, 2, 5]]),
        np.array([2, 0, 5]),
        np.array([2, 2, 5]),
        np.array([-1, 2, 5]),
        np.array([0, 2, 2]),
        np.array([0, 5, 3]),
        np.array([0, 2, MAX_TABLES]),
        np.array([0, 2, 1 << 62]),
        np.array([0.0, 2.0, 5.0]),
    ],
    ids=str,
)
def test_rows_that_do_not_fit_are_refused(rows: Any) -> None:
    arrays = {"ngrams.weight": np.ones((2, 3), np.float32)}
    if rows is not None:
        arrays["ngrams.weight.rows"] = rows
    with pytest.raises(ModelFileError, match="does not fit"):
        unpack_rows(arrays, "a file")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ngram_embedding": 1}, "must be 0 or at least 2"),
        ({"ngram_embedding": 16, "ngram_rows": 1 << 24}, "numbers; at most 268,435,456"),
        ({"ngram_embedding": 17}, "at most 16"),
        ({"ngram_rows": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig(**settings)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_start_symbol_is_what_comes_before_a_text() -> None:
    config = config_of(3)
    with_start = list(ngram_rows(np.array([[0, 0, 0, 5]]), config))
    counts = Counter(int(rows[0, 0]) for rows in with_start)
    assert len(counts) == 2  # the same codes have other rows in the table of another order
