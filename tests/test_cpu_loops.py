"""The loops of the rnn and the gru against torch's own modules: outputs, and every gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.model.cells.cpu_loops import run_gru, run_rnn

BATCH, INPUTS, SIZE = 3, 5, 8
Run = Callable[[Tensor, Tensor], Tensor]


def gru() -> tuple[nn.RNNBase, Run]:
    module = nn.GRU(INPUTS, SIZE, dtype=torch.float64)
    w, u, b, d = module.parameters()
    return module, lambda inputs, start: run_gru(functional.linear(inputs, w, b), start, u, d)


def rnn(activation: str) -> tuple[nn.RNNBase, Run]:
    module = nn.RNN(INPUTS, SIZE, nonlinearity=activation, dtype=torch.float64)
    w, u, b, d = module.parameters()
    return module, lambda inputs, start: run_rnn(
        functional.linear(inputs, w, b + d), start, u, activation
    )


KINDS = {"gru": gru, "tanh": lambda: rnn("tanh"), "relu": lambda: rnn("relu")}


@pytest.mark.parametrize("time", [1, 2, 17])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_torchs(kind: str, time: int) -> None:
    torch.manual_seed(time)
    module, run = KINDS[kind]()
    inputs = torch.randn(time, BATCH, INPUTS, dtype=torch.float64, requires_grad=True)
    start = torch.randn(BATCH, SIZE, dtype=torch.float64, requires_grad=True)
    factors, leaves = (
        torch.randn(time, BATCH, SIZE, dtype=torch.float64),
        [inputs, start, *module.parameters()],
    )
    expected, found = module(inputs, start[None])[0], run(inputs, start)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad((found * factors).sum(), leaves)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * factors).sum(), leaves))


def test_a_sigmoid_network_has_the_gradient_of_its_equation() -> None:
    torch.manual_seed(1)
    inputs, start, weight = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((6, BATCH, SIZE), (BATCH, SIZE), (SIZE, SIZE))
    )
    assert torch.autograd.gradcheck(
        lambda *given: run_rnn(*given, "sigmoid"), (inputs, start, weight)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_the_numbers_are_near(kind: str) -> None:
    torch.manual_seed(1)
    module, run = KINDS[kind]()
    inputs, start = (
        torch.randn(20, BATCH, INPUTS, dtype=torch.float64),
        torch.zeros(BATCH, SIZE, dtype=torch.float64),
    )
    module.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = run(inputs.float(), start.float())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(
        found.float(), module(inputs.float(), start.float()[None])[0], rtol=0, atol=0.05
    )
