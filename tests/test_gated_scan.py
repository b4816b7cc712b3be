"""The recurrence of minGRU and minLSTM over a whole sequence, against one step after the other."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from charrnn.model.cells.gated_scan import BLOCK, LoopedScan, ParallelScan, gated_scan

BATCH, SIZE = 2, 3
every_form = pytest.mark.parametrize("form", [LoopedScan, ParallelScan])
every_length = pytest.mark.parametrize("time", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
Form = type[LoopedScan] | type[ParallelScan]


def example(
    time: int, scale: float = 2.0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(time)
    products = scale * torch.randn(BATCH, time, 2 * SIZE, generator=generator, dtype=torch.float64)
    start = torch.randn(BATCH, SIZE, generator=generator, dtype=torch.float64)
    return products.to(dtype).requires_grad_(), start.to(dtype).requires_grad_()


def stepped(products: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The definition, differentiated by autograd."""
    outputs, hidden = [], start
    for step in products.unbind(1):
        update = 1 / (1 + torch.exp(-step[:, :SIZE]))
        hidden = (1 - update) * hidden + update * step[:, SIZE:]
        outputs.append(hidden)
    return torch.stack(outputs, 1)


@every_form
@every_length
def test_values_and_gradients_are_those_of_single_steps(form: Form, time: int) -> None:
    products, start = example(time)
    (ours, last), expected = form.apply(products, start), stepped(products, start)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, expected[:, -1], rtol=1e-12, atol=1e-12)
    weights = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    losses = [
        (h * weights).sum() + h_last.square().sum()
        for h, h_last in ((ours, last), (expected, expected[:, -1]))
    ]
    gradients, wanted = (torch.autograd.grad(loss, (products, start)) for loss in losses)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@every_form
def test_the_gradient_is_that_of_finite_differences(form: Form) -> None:
    assert torch.autograd.gradcheck(form.apply, example(BLOCK + 2))


@every_form
def test_pieces_with_the_state_carried_are_the_whole(form: Form) -> None:
    products, start = example(50)
    pieces, hidden = [], start
    for begin, end in pairwise((0, 7, 8, 40, 50)):
        piece, hidden = form.apply(products[:, begin:end], hidden)
        pieces.append(piece)
    torch.testing.assert_close(
        torch.cat(pieces, 1), form.apply(products, start)[0], rtol=1e-12, atol=1e-12
    )


@every_form
@pytest.mark.parametrize(
    "scale", [1e-3, 1.0, 1e3], ids=["half open gates", "usual gates", "shut or open gates"]
)
def test_ten_thousand_steps_in_single_precision_are_exact_and_finite(
    form: Form, scale: float
) -> None:
    products, start = example(10_000, scale, torch.float32)
    outputs, _ = form.apply(products, start)
    expected, hidden = np.empty(outputs.shape), start.detach().double().numpy()
    values = products.detach().double().numpy()
    for time in range(10_000):
        update = (1 + np.tanh(values[:, time, :SIZE] / 2)) / 2
        hidden = hidden + update * (values[:, time, SIZE:] - hidden)
        expected[:, time] = hidden
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-4, atol=1e-4 * scale)
    for gradient in torch.autograd.grad(outputs.sum(), (products, start)):
        assert gradient.isfinite().all()


@every_form
def test_narrow_products_are_computed_in_the_format_of_the_state(form: Form) -> None:
    products, start = example(40, dtype=torch.float32)
    narrow = products.detach().bfloat16().requires_grad_()
    outputs, last = form.apply(narrow, start)
    assert (outputs.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    expected = stepped(narrow.float(), start)
    torch.testing.assert_close(outputs, expected.bfloat16(), rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(last, expected[:, -1], rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(outputs.sum(), (narrow, start))
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32]


def test_what_is_given_is_not_changed() -> None:
    products, start = example(20, dtype=torch.float32)
    before = products.detach().clone(), start.detach().clone()
    gated_scan(products, start)[0].sum().backward()
    assert torch.equal(products, before[0])
    assert torch.equal(start, before[1])
