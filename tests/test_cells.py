"""Each cell against its textbook equations, one time step and one gate at a time."""

import sys
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SETTINGS, TEXT

import charrnn
from charrnn.config.cells import CELLS, CellSpec
from charrnn.config.fields import declared
from charrnn.config.model import ModelConfig
from charrnn.model import cells
from charrnn.model.cells.fast import FAST, run_layer
from charrnn.model.cells.layer import RecurrentLayer
from charrnn.model.network import CharRNN
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling.decoding import DecoderState, prefill, text_start

Values = Any  # NumPy arrays or torch tensors: the equations below are written once, for both
Step = Callable[[ModuleType, Values, tuple[Values, ...], dict[str, Values]], tuple[Values, ...]]
BATCH, TIME, INPUT, HIDDEN = 3, 7, 5, 4
LETTERS = {"weight": "W", "bias": "b"} | dict(
    zip(
        ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"),
        "WUbd",
        strict=True,
    )
)
RECURRENT = [name for name, spec in CELLS.items() if spec.recurrent]
FORMS = (RecurrentLayer.__call__, run_layer)  # step by step by the equations, and fast


def sigmoid(np: ModuleType, x: Values) -> Values:
    return 1 / (1 + np.exp(-x))


def affine(w: dict[str, Values], gate: str, x: Values, h: Values) -> Values:
    return x @ w[f"W{gate}"].T + w[f"b{gate}"] + h @ w[f"U{gate}"].T + w[f"d{gate}"]


def elman_tanh(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    return (np.tanh(affine(w, "h", x, state[0])),)


def elman_relu(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    before = affine(w, "h", x, state[0])
    return (before * (before > 0),)


def elman_sigmoid(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    return (sigmoid(np, affine(w, "h", x, state[0])),)


def gru(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    h = state[0]
    reset = sigmoid(np, affine(w, "r", x, h))
    update = sigmoid(np, affine(w, "z", x, h))
    candidate = np.tanh(x @ w["Wn"].T + w["bn"] + reset * (h @ w["Un"].T + w["dn"]))
    return ((1 - update) * candidate + update * h,)


def lstm(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    h, c = state
    c = sigmoid(np, affine(w, "f", x, h)) * c + sigmoid(np, affine(w, "i", x, h)) * np.tanh(
        affine(w, "g", x, h)
    )
    return sigmoid(np, affine(w, "o", x, h)) * np.tanh(c), c


def mingru(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    update = sigmoid(np, x @ w["Wz"].T + w["bz"])
    return ((1 - update) * state[0] + update * (x @ w["Wn"].T + w["bn"]),)


def minlstm(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    forget, enter = sigmoid(np, x @ w["Wf"].T + w["bf"]), sigmoid(np, x @ w["Wi"].T + w["bi"])
    return ((forget * state[0] + enter * (x @ w["Wg"].T + w["bg"])) / (forget + enter),)


# (cell, activation): the equations, and the gates in the order in which torch stacks them
TEXTBOOK: dict[tuple[str, str], tuple[Step, str]] = {
    ("rnn", "tanh"): (elman_tanh, "h"),
    ("rnn", "relu"): (elman_relu, "h"),
    ("rnn", "sigmoid"): (elman_sigmoid, "h"),
    ("gru", "tanh"): (gru, "rzn"),
    ("lstm", "tanh"): (lstm, "ifgo"),
    ("mingru", "tanh"): (mingru, "zn"),
    ("minlstm", "tanh"): (minlstm, "fig"),
}
every_cell = pytest.mark.parametrize(
    ("kind", "activation"), TEXTBOOK, ids=["-".join(key) for key in TEXTBOOK]
)


def cell_of(
    kind: str,
    activation: str = "tanh",
    input_size: int = INPUT,
    hidden: int = HIDDEN,
    **settings: Any,
) -> RecurrentLayer:
    torch.manual_seed(1)
    config = ModelConfig(cell=kind, activation=activation, hidden_size=hidden, **settings)
    return RecurrentLayer(input_size, config)


def random_cell(kind: str, activation: str) -> RecurrentLayer:
    """A float64 cell in which no weight has a start value that would hide a mistake."""
    cell = cell_of(kind, activation).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return cell


def example(cell: RecurrentLayer) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Inputs and a state that is not zero."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(
        BATCH, TIME, INPUT, generator=generator, dtype=torch.float64, requires_grad=True
    )
    state = torch.randn(
        cell.spec.num_states, BATCH, HIDDEN, generator=generator, dtype=torch.float64
    )
    return inputs, tuple(part.clone().requires_grad_() for part in state)


def by_gate(cell: RecurrentLayer, gates: str) -> dict[str, torch.Tensor]:
    """Name each gate's part of each weight.

    W and U the matrices of input and state, b and d their biases.
    """
    parts = {}
    for name, parameter in cell.named_parameters():
        blocks = parameter.unflatten(0, (len(gates), HIDDEN))
        parts |= {
            f"{LETTERS[name]}{gate}": block for gate, block in zip(gates, blocks, strict=True)
        }
    return parts


def walk(
    np: ModuleType, step: Step, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    """Return the outputs of each time step, stacked along time, and the last state."""
    outputs = []
    for time in range(x.shape[1]):
        state = step(np, x[:, time], state, w)
        outputs.append(state[0])
    return np.stack(outputs, 1), *state


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def assert_same(ours: tuple[torch.Tensor, ...], expected: tuple[Values, ...]) -> None:
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(
            array(one), array(torch.as_tensor(other)), rtol=1e-10, atol=1e-10
        )


@every_cell
def test_outputs_and_state_are_those_of_the_equations(kind: str, activation: str) -> None:
    cell, (step, gates) = random_cell(kind, activation), TEXTBOOK[kind, activation]
    inputs, state = example(cell)
    weights = {name: array(part) for name, part in by_gate(cell, gates).items()}
    expected = walk(np, step, array(inputs), tuple(map(array, state)), weights)
    for run in FORMS:
        outputs, last = run(cell, inputs, state)
        assert outputs.shape == (BATCH, TIME, HIDDEN)
        assert_same((outputs, *last), expected)


def gradients(
    results: tuple[torch.Tensor, ...], wanted: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Differentiate a sum in which each entry of the results has a weight of its own."""
    generator = torch.Generator().manual_seed(4)
    loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in results)
    return torch.autograd.grad(loss, wanted)


@every_cell
def test_gradients_are_those_of_the_equations(kind: str, activation: str) -> None:
    cell, (step, gates) = random_cell(kind, activation), TEXTBOOK[kind, activation]
    inputs, state = example(cell)
    wanted = [inputs, *state, *cell.parameters()]
    expected = gradients(walk(torch, step, inputs, state, by_gate(cell, gates)), wanted)
    for run in FORMS:
        outputs, last = run(cell, inputs, state)
        assert_same(gradients((outputs, *last), wanted), expected)


@every_cell
def test_chunks_with_the_state_carried_are_the_whole(kind: str, activation: str) -> None:
    cell = random_cell(kind, activation)
    inputs, state = example(cell)
    wanted = [inputs, *state, *cell.parameters()]
    outputs, last = run_layer(cell, inputs, state)
    whole = (outputs, *last)
    expected = gradients(whole, wanted)
    for cuts in ((3,), (1, 2), range(1, TIME)):
        pieces, carried = [], state
        for begin, end in pairwise((0, *cuts, TIME)):
            piece, carried = run_layer(cell, inputs[:, begin:end], carried)
            pieces.append(piece)
        joined = (torch.cat(pieces, dim=1), *carried)
        assert_same(joined, whole)
        assert_same(gradients(joined, wanted), expected)


@every_cell
def test_the_first_of_the_state_is_the_last_output(kind: str, activation: str) -> None:
    cell = random_cell(kind, activation)
    outputs, last = run_layer(cell, *example(cell))
    assert [part.shape for part in last] == [(BATCH, HIDDEN)] * cell.spec.num_states
    assert torch.equal(outputs[:, -1], last[0])


@every_cell
def test_a_sequence_does_not_depend_on_those_beside_it(kind: str, activation: str) -> None:
    cell = random_cell(kind, activation)
    inputs, state = example(cell)
    together, _ = run_layer(cell, inputs, state)
    for row in range(BATCH):
        alone, _ = run_layer(
            cell, inputs[row : row + 1], tuple(part[row : row + 1] for part in state)
        )
        assert_same((alone[0],), (together[row],))


KEEPS = {
    "gru": {"z": 1},
    "lstm": {"f": 1},
    "mingru": {"z": -1},
    "minlstm": {"f": 1, "i": -1},
}  # gates, and their signs


@pytest.mark.parametrize("bias", [1.0, 0.0, -2.5])
@every_cell
def test_only_the_gates_that_keep_the_state_begin_with_a_bias(
    kind: str, activation: str, bias: float
) -> None:
    gates = TEXTBOOK[kind, activation][1]
    parts = by_gate(cell_of(kind, activation, forget_bias=bias), gates)
    for gate in gates:
        total = sum(
            part.detach() for letter in "bd" if (part := parts.get(f"{letter}{gate}")) is not None
        )
        sign = KEEPS.get(kind, {}).get(gate, 0)
        assert torch.equal(total, torch.full((HIDDEN,), sign * bias))


@pytest.mark.parametrize("kind", KEEPS)
def test_at_the_start_a_step_keeps_the_sigmoid_of_the_bias(kind: str) -> None:
    """Without input and recurrence only the biases are left, and the candidate is 0."""
    cell = cell_of(kind, forget_bias=2.0)
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if "weight" in name:
                parameter.zero_()
    state = tuple(torch.ones(1, HIDDEN) for _ in range(cell.spec.num_states))
    _, after = run_layer(cell, torch.zeros(1, 1, INPUT), state)
    torch.testing.assert_close(after[-1], torch.full((1, HIDDEN), 2.0).sigmoid())


@pytest.mark.parametrize(("kind", "orthogonal"), [*product(RECURRENT, (True, False))])
def test_each_gates_recurrent_block_begins_orthogonal_if_asked(kind: str, orthogonal: bool) -> None:
    cell = cell_of(kind, orthogonal=orthogonal)
    blocks = cell.get_parameter("rnn.weight_hh_l0").detach().split(HIDDEN)
    assert [torch.allclose(block @ block.T, torch.eye(HIDDEN), atol=1e-5) for block in blocks] == [
        orthogonal
    ] * len(cell.spec.gates)
    assert len({tuple(block.flatten().tolist()) for block in blocks}) == len(cell.spec.gates)


@pytest.mark.parametrize("kind", CELLS)
def test_each_gates_input_block_begins_on_its_own_scale(kind: str) -> None:
    """Glorot's bound for one block, which is wider than that for the blocks as one tall matrix."""
    cell = cell_of(kind, input_size=40, hidden=30)
    matrix = next(parameter for name, parameter in cell.named_parameters() if LETTERS[name] == "W")
    for block in matrix.detach().split(30):
        assert block.abs().max() == pytest.approx((6 / (40 + 30)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("kind", CELLS)
def test_the_activation_is_the_plain_cells_alone(kind: str) -> None:
    tanh, relu = (
        run_layer(cell, *example(cell))[0]
        for cell in (random_cell(kind, "tanh"), random_cell(kind, "relu"))
    )
    assert torch.equal(tanh, relu) == (kind != "rnn")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@every_cell
def test_the_fast_form_agrees_with_the_steps(kind: str, activation: str, device: str) -> None:
    """Over more steps than any form takes at once: outputs, states and gradients."""
    cell = random_cell(kind, activation).to(device)
    assert kind in FAST
    generator = torch.Generator().manual_seed(5)
    inputs, *state = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(device).requires_grad_()
        for shape in [(BATCH, 50, INPUT)] + [(BATCH, HIDDEN)] * cell.spec.num_states
    )
    leaves, results = [inputs, *state, *cell.parameters()], []
    for run in FORMS:
        outputs, last = run(cell, inputs, tuple(state))
        values = tuple(part.cpu() for part in (outputs, *last))
        results.append((*values, *(one.cpu() for one in gradients(values, leaves))))
    assert_same(*results)


@every_cell
def test_other_devices_give_the_same_shapes_by_kernels_of_torch(kind: str, activation: str) -> None:
    """And those kernels, on a processor, the same numbers as ours."""
    cell = random_cell(kind, activation)
    inputs, state = example(cell)
    outputs, last = run_layer(cell, inputs, state)
    if kind in ("rnn", "gru") and activation != "sigmoid":
        theirs, hidden = cell.rnn(inputs, state[0][None])
        assert_same((theirs, hidden[0]), (outputs, *last))
    somewhere = cell.to("meta"), inputs.to("meta"), tuple(part.to("meta") for part in state)
    found, carried = run_layer(*somewhere)
    assert [part.shape for part in (found, *carried)] == [part.shape for part in (outputs, *last)]
    assert found.is_meta


# A cell of one's own


def mgu(
    np: ModuleType, x: Values, state: tuple[Values, ...], w: dict[str, Values]
) -> tuple[Values, ...]:
    """Minimal gated unit (Zhou et al. 2016), its gate after the recurrent product."""
    forget = sigmoid(np, affine(w, "f", x, state[0]))
    candidate = np.tanh(x @ w["Wn"].T + w["bn"] + forget * (state[0] @ w["Un"].T + w["dn"]))
    return ((1 - forget) * state[0] + forget * candidate,)


@pytest.fixture
def own_cell(monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a cell: an entry, and a file with nothing but `step`."""

    def step(gates: cells.Arrays, state: cells.Arrays, xp: Any) -> cells.Arrays:
        f, (input_n, recurrent_n) = gates
        (h,) = state
        return (h + f * (xp.tanh(input_n + f * recurrent_n) - h),)

    spec = CellSpec(gates={"f": "sigmoid", "n": "split"}, forget_bias={"f": -1.0})
    monkeypatch.setitem(CELLS, "mgu", spec)
    # The setting's choices were made of the cells that there were when it was declared.
    monkeypatch.setitem(vars(declared(ModelConfig)["cell"]), "choices", tuple(CELLS))
    module: Any = ModuleType("charrnn.model.cells.mgu")
    module.step = step
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "mgu"


def test_a_new_cell_is_its_equations(own_cell: str) -> None:
    cell = random_cell(own_cell, "tanh")
    inputs, state = example(cell)
    expected = walk(torch, mgu, inputs, state, by_gate(cell, "fn"))
    outputs, last = run_layer(cell, inputs, state)
    assert_same((outputs, *last), expected)
    assert cell.kept(inputs[:, 0], state[0]) is None
    fresh = by_gate(cell_of(own_cell, forget_bias=2.0), "fn")
    assert [fresh[name].unique().tolist() for name in ("bf", "df", "bn", "dn")] == [
        [-2.0],
        [0.0],
        [0.0],
        [0.0],
    ]


def test_a_new_cell_trains_is_saved_samples_and_is_scored(own_cell: str, tmp_path: Path) -> None:
    text, folder = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT)
    settings = SETTINGS | {"num_layers": 2, "steps": 60, "lr": 0.02}
    *_, finished = charrnn.train(text, out=folder, cell=own_cell, **settings)
    assert finished.summary["valid_nats_per_token"] < np.log(len(set(TEXT)))

    model = charrnn.load(folder)
    assert model.config.cell == own_cell
    assert model.saved.weights["layers.1.cell.rnn.weight_hh_l0"].shape == (2 * 8, 8)
    assert len(model.generate("the ", length=30)) == 30
    assert model.score(TEXT).bits_per_char < np.log2(len(set(TEXT)))

    network = CharRNN(model.config).eval()
    network.load_state_dict({n: torch.from_numpy(one) for n, one in model.saved.weights.items()})
    sampler = NumpyModel(model.config, model.saved.weights)
    ids = model.tokenizer.encode("the cat")
    now: DecoderState = prefill(sampler, text_start(sampler), ids)
    logits, _ = sampler.step(*now)
    with torch.no_grad():
        expected, _ = network(torch.tensor([[network.start, *ids.tolist()]]))
    np.testing.assert_allclose(logits, expected[:, -1].numpy(), rtol=1e-4, atol=1e-4)
