"""The schedule against its formula, and the optimizers against torch's own.

Those have separate copies of the weights.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import OPTIMIZERS, TrainConfig
from charrnn.model.network import CharRNN, build
from charrnn.training import optimizer as optimizer_module
from charrnn.training.optimizer import NEWTON_SCHULZ_ROUNDS, Optimizer, orthogonalise
from charrnn.training.schedule import learning_rate

HIDDEN = 8
TORCHS_ROUNDS = ((3.4445, -4.7750, 2.0315),) * 5  # its Muon has the same coefficients in each round
averaging = pytest.mark.parametrize("kind", [kind for kind in OPTIMIZERS if kind != "sgd"])
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)


def rates(**settings: Any) -> list[float]:
    config = TrainConfig(lr=0.5, **settings)
    return [learning_rate(step, config) for step in range(config.steps)]


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    found = rates(steps=100, warmup=0.1, lr_floor=0.2)
    assert found[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert found[10] == 0.5
    assert found[55] == pytest.approx(0.5 * 0.6)  # half-way: the middle of peak and floor
    assert found[10:] == pytest.approx([0.5 - 0.4 * done / 90 for done in range(90)])
    assert found[-1] == pytest.approx(0.1 + 0.4 / 90)
    assert learning_rate(
        100, TrainConfig(lr=0.5, steps=100, warmup=0.1, lr_floor=0.2)
    ) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"steps": 1}, [0.5]),
        ({"steps": 1, "warmup": 1.0}, [0.5]),
        ({"steps": 4, "warmup": 1.0}, [0.125, 0.25, 0.375, 0.5]),
        ({"steps": 3, "warmup": 0.0, "lr_floor": 0.0}, [0.5, 0.5, 0.25]),
        ({"steps": 3, "warmup": 0.0, "lr_floor": 1.0}, [0.5, 0.5, 0.5]),
    ],
    ids=["one step", "one step of warm-up", "only warm-up", "no warm-up", "no fall"],
)
def test_the_learning_rate_at_the_edges(settings: dict[str, Any], expected: list[float]) -> None:
    assert rates(**settings) == pytest.approx(expected)


@given(steps=st.integers(1, 400), warmup=st.floats(0, 1), floor=st.floats(0, 1))
def test_the_learning_rate_rises_once_and_falls_once_between_nothing_and_its_peak(
    steps: int, warmup: float, floor: float
) -> None:
    found = rates(steps=steps, warmup=warmup, lr_floor=floor)
    top = max(1, round(warmup * steps)) - 1
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[top] == pytest.approx(0.5)
    assert min(found) > 0 or floor == 0
    assert found[-1] >= 0.5 * floor * (1 - 1e-9)


def model_of(cell: str = "lstm", **settings: Any) -> CharRNN:
    sizes = {"vocab_size": 11, "hidden_size": HIDDEN, "embedding_size": 5, "num_layers": 2}
    return build(ModelConfig(cell=cell, **sizes | settings), seed=1)


def optimizer_of(model: CharRNN, kind: str, weight_decay: float = 0.1) -> Optimizer:
    return Optimizer(model, TrainConfig(optimizer=kind, weight_decay=weight_decay), "bf16")


def gradients(model: CharRNN, seed: int) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        yield name, torch.randn(parameter.shape, generator=generator)


def step(model: CharRNN, optimizer: Optimizer, seed: int, lr: float = 0.01) -> None:
    parameters = dict(model.named_parameters())
    for name, gradient in gradients(model, seed):
        parameters[name].grad = gradient
    optimizer.step(lr)
    optimizer.zero_grad()


def weights(model: CharRNN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def is_matrix_of_a_layer(name: str) -> bool:
    return ".cell." in name and "weight" in name


def by_hand(model: CharRNN, kind: str, lr: float, weight_decay: float) -> dict[str, Tensor]:
    """Take three steps of torch's optimizers on a copy of each gate's matrix, and join them."""
    copies = {
        name: [
            nn.Parameter(part.clone())
            for part in value.split(HIDDEN if is_matrix_of_a_layer(name) else len(value))
        ]
        for name, value in model.state_dict().items()
    }
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
    for name, parts in copies.items():
        matrix = "muon" if kind == "muon" and is_matrix_of_a_layer(name) else "decayed"
        groups["plain" if parts[0].dim() == 1 else matrix] += parts
    adamw = [
        {"params": groups["decayed"], "weight_decay": weight_decay},
        {"params": groups["plain"], "weight_decay": 0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(adamw, lr=lr, betas=(0.9, 0.99), fused=True)
    ]
    if kind == "muon":
        settings: dict[str, Any] = {"weight_decay": weight_decay, "adjust_lr_fn": "match_rms_adamw"}
        optimizers.append(torch.optim.Muon(groups["muon"], lr=lr, **settings))
    for seed in range(3):
        for name, gradient in gradients(model, seed):
            for copy, part in zip(copies[name], gradient.split(len(copies[name][0])), strict=True):
                copy.grad = part.clone()
        for optimizer in optimizers:
            optimizer.step()
    return {name: torch.cat([part.detach() for part in parts]) for name, parts in copies.items()}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("cell", CELLS)
@averaging
def test_three_steps_equal_torchs_own_on_separate_gates(
    kind: str, cell: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer_module, "NEWTON_SCHULZ_ROUNDS", TORCHS_ROUNDS)
    model = model_of(cell, tied=tied, embedding_size=HIDDEN)
    expected = by_hand(model, kind, lr=0.02, weight_decay=0.1)
    optimizer = optimizer_of(model, kind)
    for seed in range(3):
        step(model, optimizer, seed, lr=0.02)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 8), (4, 8, 3)], ids=str)
def test_orthogonalising_moves_the_singular_values_alone_and_as_the_polynomial_says(
    shape: tuple[int, ...],
) -> None:
    blocks = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for block, found in zip(blocks, orthogonalise(blocks), strict=True):
        left, values, right = torch.linalg.svd(block, full_matrices=False)
        values = values / torch.linalg.norm(block)
        for a, b, c in NEWTON_SCHULZ_ROUNDS:
            values = a * values + b * values**3 + c * values**5
        torch.testing.assert_close(found, left @ torch.diag(values) @ right)


def test_orthogonalising_brings_what_is_not_tiny_near_to_one() -> None:
    for value in torch.linspace(0.01, 0.7, 100, dtype=torch.float64):
        rest = (1 - value**2).sqrt()
        found = orthogonalise(torch.diag(torch.stack([value, rest]))[None])[0].diagonal()
        assert 0.29 < found.min() <= found.max() < 1.71


def test_each_round_is_the_best_for_what_comes_to_it() -> None:
    """Chebyshev's criterion.

    With three coefficients, the error reaches its greatest size four times, in turn.
    """
    low, high = 0.01, 1.0
    for a, b, c in NEWTON_SCHULZ_ROUNDS:
        x = torch.linspace(low, high, 100_001, dtype=torch.float64)
        error = a * x + b * x**3 + c * x**5 - 1
        turns = error[1:-1][(error.diff()[:-1] * error.diff()[1:]) < 0]
        extremes = torch.cat([error[:1], turns, error[-1:]])
        assert extremes.sign().tolist() == [-1, 1, -1, 1]
        assert extremes.abs().tolist() == pytest.approx([float(error.abs().max())] * 4, abs=1e-3)
        low, high = 1 - float(error.abs().max()), 1 + float(error.abs().max())


@every_optimizer
def test_only_matrices_and_embeddings_decay(kind: str) -> None:
    model = model_of(tied=False)
    before, optimizer = weights(model), optimizer_of(model, kind, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(lr=0.1)
    for name, value in model.state_dict().items():
        kept = 1 - 0.1 * 0.5 if value.dim() > 1 else 1
        torch.testing.assert_close(value, before[name] * kept, rtol=1e-6, atol=0)


@every_optimizer
def test_every_weight_moves_and_in_proportion_to_the_learning_rate(kind: str) -> None:
    model = model_of()
    before, optimizer = weights(model), optimizer_of(model, kind)
    step(model, optimizer, seed=1, lr=0.0)
    assert same(weights(model), before)
    step(model, optimizer, seed=1, lr=0.01)
    assert not any(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("steps", [-1, -(1 << 63), (1 << 63) - 1])
def test_a_state_of_impossibly_many_steps_is_refused(steps: int) -> None:
    optimizer = optimizer_of(model_of(), "adamw")
    with pytest.raises(ValueError, match=f"cannot have taken {steps} steps"):
        optimizer.restore(optimizer.state() | {"steps": torch.tensor(steps)})


@pytest.mark.parametrize("steps", [0, 1, 3])
@every_optimizer
def test_a_restored_optimizer_takes_the_same_steps_to_the_bit(kind: str, steps: int) -> None:
    model = model_of()
    optimizer = optimizer_of(model, kind)
    for seed in range(steps):
        step(model, optimizer, seed)
    state, began = (
        {name: value.clone() for name, value in optimizer.state().items()},
        weights(model),
    )

    twin = model_of()
    twin_optimizer = optimizer_of(twin, kind)
    step(twin, twin_optimizer, seed=99)  # what it has learned from that is to be forgotten
    for _ in range(2):
        twin.load_state_dict(began)
        twin_optimizer.restore(state)
        assert same(twin_optimizer.state(), state)
        for seed in range(10, 13):
            step(twin, twin_optimizer, seed)

    for seed in range(10, 13):
        step(model, optimizer, seed)
    assert same(weights(twin), weights(model))
    assert same(twin_optimizer.state(), optimizer.state())


@averaging
def test_a_state_of_something_else_is_refused(kind: str) -> None:
    optimizer = optimizer_of(model_of(), kind)
    with pytest.raises(ValueError, match="does not fit"):
        optimizer.restore(optimizer_of(model_of(num_layers=1), kind).state())
    with pytest.raises(ValueError, match="cannot have taken -1 steps"):
        optimizer.restore(optimizer.state() | {"steps": torch.tensor(-1)})


@averaging
def test_the_state_covers_every_weight_once(kind: str) -> None:
    model = model_of()
    optimizer = optimizer_of(model, kind)
    averages = {
        name.removeprefix("average."): value
        for name, value in optimizer.state().items()
        if "average" in name
    }
    assert {name: value.shape for name, value in averages.items()} == {
        name: parameter.shape for name, parameter in model.named_parameters()
    }


@every_optimizer
def test_cleared_gradients_are_gone(kind: str) -> None:
    model = model_of()
    optimizer = optimizer_of(model, kind)
    logits, _ = model(torch.zeros(2, 3, dtype=torch.int64))
    logits.square().sum().backward()
    optimizer.step(lr=0.01)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
    before = weights(model)
    optimizer.step(lr=0.01)
    assert same(weights(model), before)


@every_optimizer
def test_weights_loaded_later_are_the_ones_that_move(kind: str) -> None:
    """A resume loads the weights after the optimizer was made: its views have to see them."""
    model, other = model_of(), build(model_of().config, seed=2)
    optimizer = optimizer_of(model, kind)
    model.load_state_dict(other.state_dict())
    step(model, optimizer, seed=1)
    step(other, optimizer_of(other, kind), seed=1)
    assert same(weights(model), weights(other))


def test_plain_gradient_descent_is_torchs() -> None:
    model, other = model_of(), model_of()
    ours = optimizer_of(model, "sgd", weight_decay=0.0)
    theirs = torch.optim.SGD(other.parameters(), lr=0.3)
    for seed in range(3):
        step(model, ours, seed, lr=0.3)
        parameters = dict(other.named_parameters())
        for name, gradient in gradients(other, seed):
            parameters[name].grad = gradient
        theirs.step()
    for one, mine in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, mine)
    assert ours.state().keys() == {"steps"}
