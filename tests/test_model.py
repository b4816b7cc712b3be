"""The network.

Its weights' names, what may depend on what, and the numbers of a few fixed steps.
"""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from models import perturbed
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.model.cells.fast import run_layer
from charrnn.model.network import CharRNN, Layer, build, detach
from charrnn.model.shapes import parameter_count, state_shapes, table_size, weight_shapes
from charrnn.training.optimizer import Optimizer
from charrnn.training.step import GradientComputer, train_step

VOCAB, BATCH, TIME, HIDDEN = 13, 2, 6, 8


def config_of(cell: str = "lstm", **settings: Any) -> ModelConfig:
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "embedding_size": HIDDEN if settings.get("tied") else 5,
    }
    return ModelConfig(cell=cell, **sizes | settings)


GRID = all_pairs(
    [{"cell": cell} for cell in CELLS],
    ({"num_layers": 1}, {"num_layers": 3}),
    ({"layer_norm": False}, {"layer_norm": True}),
    ({"residual": False}, {"residual": True}),
    ({"attention": 0}, {"attention": 4}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 3, "ngram_rows": 50, "ngram_path": "input"},
        {"ngram_embedding": 3, "ngram_rows": 50, "ngram_path": "output"},
        {"ngram_embedding": 3, "ngram_rows": 50, "ngram_path": "both"},
    ),
    (
        {"match_window": 0},
        {"match_window": 9, "match_length": 1},
        {"match_window": 4, "match_length": 2},
    ),
    ({"tied": False}, {"tied": True}, {"adaptive": True}),
)
every_config = pytest.mark.parametrize(
    "config", [config_of(**settings) for settings in GRID], ids=map(settings_id, GRID)
)
every_cell = pytest.mark.parametrize("cell", CELLS)


def double(config: ModelConfig) -> CharRNN:
    """A float64 model in evaluation mode, no weight of which starts so that it hides a mistake."""
    return perturbed(build(config, seed=1).double().eval())


def some_ids(time: int = TIME) -> Tensor:
    """Symbols that are different from each other within a row, the start symbol first."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.stack([torch.randperm(VOCAB, generator=generator)[:time] for _ in range(BATCH)])
    rows[:, 0] = VOCAB
    return rows


def assert_close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@every_config
def test_the_weights_are_those_that_shapes_knows_in_the_same_order(config: ModelConfig) -> None:
    state = build(config, seed=1).state_dict()
    assert [(name, tuple(value.shape)) for name, value in state.items()] == [
        *weight_shapes(config).items()
    ]
    counted = parameter_count(config) + table_size(config)
    assert sum(parameter.numel() for parameter in build(config, seed=1).parameters()) == counted
    assert counted == sum(map(prod, weight_shapes(config).values()))
    assert table_size(config) == (2 * 50 * config.embedding_size if config.ngram_embedding else 0)


@every_config
def test_a_prediction_depends_on_what_came_before_and_on_nothing_after(config: ModelConfig) -> None:
    model, seen = double(config), []
    model.embedding.register_forward_hook(lambda *call: seen.append(call[-1]))
    logits, _ = model(some_ids())
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    for time in range(TIME):
        (gradient,) = torch.autograd.grad(
            (logits * weights)[:, time].sum(), seen, retain_graph=True
        )
        touched = gradient.abs().amax(dim=2) > 0
        assert touched[:, : time + 1].all()
        assert not touched[:, time + 1 :].any()


@every_config
@torch.no_grad()
def test_chunks_with_the_state_carried_are_the_whole(config: ModelConfig) -> None:
    model, ids = double(config), some_ids()
    expected, last = model(ids)
    assert expected.shape == (BATCH, TIME, VOCAB)
    for cuts in ((3,), (1, 4), range(1, TIME)):
        pieces, carried = [], None
        for begin, end in pairwise((0, *cuts, TIME)):
            piece, carried = model(ids[:, begin:end], carried)
            pieces.append(piece)
        assert_close(torch.cat(pieces, dim=1), expected)
        for one, other in zip(carried, last, strict=True):
            assert_close(one, other)


@every_config
@torch.no_grad()
def test_no_state_is_a_state_of_zeros(config: ModelConfig) -> None:
    model, ids = double(config), some_ids()
    zeros = model.initial_state(BATCH)
    shapes = [(BATCH, HIDDEN)] * config.num_layers * (1 + (config.cell == "lstm"))
    if config.attention:
        shapes += [(BATCH, config.attention, HIDDEN), (BATCH, 1)]
    if config.ngram_embedding:
        shapes += [(BATCH, config.ngram_embedding - 1)]
    if config.match_window:
        shapes += [(BATCH, config.match_window + 3 * config.match_length - 1)]
    assert [tuple(part.shape) for part in zeros] == shapes
    assert [(BATCH, *shape) for shape in state_shapes(config)] == shapes
    assert not any(part.any() for part in zeros)
    assert torch.equal(model(ids, zeros)[0], model(ids)[0])


@every_cell
@torch.no_grad()
def test_the_state_holds_each_layers_own_in_turn(cell: str) -> None:
    model, ids = double(config_of(cell, num_layers=3)), some_ids()
    _, state = model(ids)
    values = model.embedding(ids)
    for layer, part in zip(model.layers, model.cell_states(state), strict=True):
        zeros = tuple(
            torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
            for _ in range(layer.cell.spec.num_states)
        )
        values, own = layer(values, zeros)
        assert all(map(torch.equal, own, part))


@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "layer norm"])
@pytest.mark.parametrize("residual", [False, True], ids=["no residual", "residual"])
@pytest.mark.parametrize("input_size", [HIDDEN, 5], ids=["equal sizes", "unequal sizes"])
@torch.no_grad()
def test_a_layer_adds_its_input_where_it_fits_and_then_normalises(
    input_size: int, residual: bool, layer_norm: bool
) -> None:
    layer = Layer(input_size, config_of(residual=residual, layer_norm=layer_norm)).double()
    inputs = torch.randn(
        BATCH, TIME, input_size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    state = (torch.zeros(BATCH, HIDDEN, dtype=torch.float64),) * 2
    expected, last = run_layer(layer.cell, inputs, state)
    if residual and input_size == HIDDEN:
        expected = expected + inputs
    if layer_norm:
        spread = expected.var(dim=-1, unbiased=False, keepdim=True)
        expected = (expected - expected.mean(dim=-1, keepdim=True)) / (spread + 1e-5).sqrt()
    outputs, carried = layer(inputs, state)
    assert_close(outputs, expected)
    assert all(map(torch.equal, carried, last))


@torch.no_grad()
def test_dropout_zeroes_and_scales_each_layers_output_in_training_only() -> None:
    torch.manual_seed(6)
    layer = Layer(5, config_of(dropout=0.25))
    inputs, state = torch.randn(50, TIME, 5), (torch.zeros(50, HIDDEN),) * 2
    dropped, carried = layer(inputs, state)
    kept, same = layer.eval()(inputs, state)
    assert all(map(torch.equal, carried, same))
    zeroed = dropped == 0
    assert torch.allclose(dropped[~zeroed], kept[~zeroed] / 0.75)
    assert zeroed.float().mean() == pytest.approx(0.25, abs=0.05)


@every_cell
@torch.no_grad()
def test_in_evaluation_nothing_is_dropped_and_no_random_number_is_drawn(cell: str) -> None:
    ids, dropping, plain = (
        some_ids(),
        build(config_of(cell, dropout=0.5), seed=1),
        build(config_of(cell), seed=1),
    )
    assert not torch.equal(dropping(ids)[0], dropping(ids)[0])
    before = torch.get_rng_state()
    assert torch.equal(dropping.eval()(ids)[0], plain.eval()(ids)[0])
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_the_embedding_itself_is_never_dropped() -> None:
    model, seen = build(config_of(dropout=0.9), seed=1), []
    model.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(some_ids())
    assert torch.equal(seen[0], model.embedding.weight[some_ids()])


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@torch.no_grad()
def test_the_output_layer_is_the_embedding_of_the_symbols_where_tied(tied: bool) -> None:
    model = double(config_of(tied=tied))
    values = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
    weight = model.embedding.weight[:VOCAB] if tied else model.state_dict()["head_weight"]
    assert_close(model.logits(values), values @ weight.T + model.head_bias)
    assert (model.head_weight is None) == tied
    assert model.logits(values).shape == (BATCH, VOCAB)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_start_symbol_is_an_input_of_its_own_and_never_predicted(tied: bool) -> None:
    model = double(config_of(tied=tied))
    assert model.start == VOCAB
    for ids, read in ((some_ids(), True), (some_ids()[:, 1:], False)):
        model.zero_grad()
        functional.cross_entropy(
            model(ids)[0].flatten(0, 1), torch.zeros(ids.numel(), dtype=torch.int64)
        ).backward()
        assert bool(model.embedding.weight.grad[VOCAB].any()) == read


def same_weights(one: CharRNN, other: CharRNN) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@every_config
def test_a_new_model_is_a_function_of_its_seed_and_touches_no_generator(
    config: ModelConfig,
) -> None:
    torch.manual_seed(7)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = build(config, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before
    torch.manual_seed(8)
    assert same_weights(first, build(config, seed=5))
    assert not same_weights(first, build(config, seed=6))


def test_a_new_model_leaves_other_devices_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    build(config_of(), seed=5)
    assert seeded == []


def test_a_detached_state_has_the_same_numbers_and_no_past() -> None:
    _, state = build(config_of(), seed=1)(some_ids())
    cut = detach(state)
    assert isinstance(cut, tuple)
    assert all(map(torch.equal, cut, state))
    assert [part.requires_grad for part in (*state, *cut)] == [True] * len(state) + [False] * len(
        state
    )


GOLDEN = {
    "rnn": 2.185183,
    "gru": 2.109682,
    "lstm": 2.112782,
    "mingru": 2.137875,
    "minlstm": 2.313341,
}


@every_cell
def test_golden_steps(cell: str) -> None:
    """A net under everything that has no test of its own.

    Initialisation, forward, backward, optimizer.
    """
    model, config = (
        build(config_of(cell, dropout=0.0), seed=1),
        TrainConfig(optimizer="adamw", lr=0.02, weight_decay=0),
    )
    ids = torch.arange(BATCH * (TIME + 1)).reshape(BATCH, TIME + 1) ** 2 % VOCAB
    batch, optimizer = Batch(ids[:, :-1], ids[:, 1:], True, TIME), Optimizer(model, config)
    gradients = GradientComputer(model, GradScaler("cpu", enabled=False))
    losses = [
        train_step(gradients, optimizer, batch, None, config, lr=config.lr).loss for _ in range(4)
    ]
    assert losses[-1] == pytest.approx(GOLDEN[cell], rel=1e-4), (
        f"After three fixed steps the {cell}'s loss is {losses[-1]:.6f}, where it was "
        f"{GOLDEN[cell]:.6f}. If you meant to change how a model begins or how it is trained, put "
        "the new number into GOLDEN and say so in CHANGELOG.md; if not, something that you touched "
        "computes something else now."
    )
