"""Dropout.

Its shares against the binomial distribution, its scale and gradient against its own zeros.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.model import ModelConfig
from charrnn.model.dropout import LEVELS, Dropout
from charrnn.model.network import build

FORMATS = (torch.float32, torch.bfloat16, torch.float64)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("share", [0.01, 0.263, 0.5, 0.9])
def test_as_many_are_dropped_as_was_asked_and_the_mean_stays(share: float) -> None:
    count = 400_000
    found = Dropout(share)(torch.ones(count))
    deviation = math.sqrt(share * (1 - share) / count)
    assert float((found == 0).double().mean()) == pytest.approx(share, abs=5 * deviation)
    assert float(found.double().mean()) == pytest.approx(1, abs=5 * deviation / (1 - share))


def test_each_of_four_numbers_that_share_a_draw_is_dropped_by_itself() -> None:
    dropped = (Dropout(0.3)(torch.ones(200_000, 4)) == 0).double()
    torch.testing.assert_close(dropped.mean(0), torch.full((4,), 0.3).double(), rtol=0, atol=0.006)
    torch.testing.assert_close(
        torch.cov(dropped.T), 0.21 * torch.eye(4).double(), rtol=0, atol=0.003
    )


@given(share=st.floats(0, 1, exclude_max=True), shape=st.lists(st.integers(0, 5), max_size=3))
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_what_is_kept_is_scaled_and_the_gradient_goes_the_same_way(
    share: float, shape: list[int], dtype: torch.dtype
) -> None:
    values = torch.randn(shape).to(dtype).requires_grad_()
    found = Dropout(share)(values)
    assert found.dtype == dtype
    assert found.shape == values.shape
    scale = LEVELS / (LEVELS - min(round(share * LEVELS), LEVELS - 1))
    kept = (found != 0).to(dtype)
    torch.testing.assert_close(
        found, values * kept * torch.tensor(scale, dtype=dtype), rtol=1e-2, atol=0
    )
    found.sum().backward()
    torch.testing.assert_close(values.grad, kept * torch.tensor(scale, dtype=dtype))


def test_nothing_is_dropped_where_no_share_is_or_no_training() -> None:
    values = torch.randn(3, 5)
    assert Dropout(0.0)(values) is values
    assert Dropout(0.9).eval()(values) is values


def test_a_seed_settles_what_is_dropped() -> None:
    torch.manual_seed(7)
    first, second = (Dropout(0.5)(torch.ones(1000)) for _ in range(2))
    torch.manual_seed(7)
    assert torch.equal(Dropout(0.5)(torch.ones(1000)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("attention", [0, 3])
def test_a_model_drops_only_while_it_trains(attention: int) -> None:
    model = build(
        ModelConfig(vocab_size=5, hidden_size=8, dropout=0.5, attention=attention), seed=1
    )
    ids = torch.randint(0, 5, (2, 7))
    (one, _), (other, _) = model(ids), model(ids)
    assert not torch.equal(one, other)
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])
