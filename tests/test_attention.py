"""Attention over the last states.

Against its definition, one step and one remembered state at a time.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from models import perturbed
from torch import Tensor

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.model.attention import Attention
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel

BATCH, SIZE, VOCAB = 3, 4, 11
every_span = pytest.mark.parametrize("span", [1, 2, 5, 70, 200])
every_length = pytest.mark.parametrize("time", [1, 6, 150])


def attention_of(span: int) -> Attention:
    """In float64 and evaluation mode, with no weight at a start value that would hide a mistake."""
    head = (
        Attention(ModelConfig(hidden_size=SIZE, embedding_size=SIZE, attention=span))
        .double()
        .eval()
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head


def empty(span: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(BATCH, span, SIZE).double(), torch.zeros(BATCH, 1).double()


def some_values(time: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(BATCH, time, SIZE, generator=generator, dtype=torch.float64)


def by_definition(head: Attention, values: Tensor) -> Tensor:
    """Each row, each step, each state in its window."""
    outputs = torch.empty_like(values)
    for row, steps in enumerate(values):
        noted = head.norm(steps)
        for time, value in enumerate(steps):
            window = noted[max(0, time - head.span + 1) : time + 1]
            weights = torch.stack(
                [(head.query.weight @ noted[time]) @ one / SIZE**0.5 for one in window]
            ).exp()
            answer = sum(
                weight * one for weight, one in zip(weights / weights.sum(), window, strict=True)
            )
            outputs[row, time] = value + head.output.weight @ answer
    return outputs


@every_span
@every_length
@torch.no_grad()
def test_equals_its_definition(span: int, time: int) -> None:
    head, values = attention_of(span), some_values(time)
    outputs, (memory, count) = head(values, empty(span))
    torch.testing.assert_close(outputs, by_definition(head, values), rtol=1e-10, atol=1e-10)
    assert count.tolist() == [[min(span, time)]] * BATCH
    kept = min(span, time)
    torch.testing.assert_close(memory[:, span - kept :], head.norm(values)[:, time - kept :])


@every_span
@torch.no_grad()
def test_pieces_with_the_memory_carried_are_the_whole(span: int) -> None:
    head, values = attention_of(span), some_values(150)
    whole, last = head(values, empty(span))
    pieces, carried = [], empty(span)
    for begin, end in pairwise((0, 1, 2, 90, 97, 150)):
        piece, carried = head(values[:, begin:end], carried)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-10, atol=1e-10)
    for one, other in zip(carried, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@every_span
def test_a_step_depends_on_exactly_its_window(span: int) -> None:
    head, values = attention_of(span), some_values(150).requires_grad_()
    outputs, _ = head(values, empty(span))
    for time in (0, 1, 69, 70, 149):
        (gradient,) = torch.autograd.grad(
            outputs[:, time].square().sum(), values, retain_graph=True
        )
        touched = (gradient.abs().amax(dim=2) > 0).nonzero()[:, 1].unique().tolist()
        assert touched == [*range(max(0, time - span + 1), time + 1)]


@torch.no_grad()
def test_rows_may_have_begun_at_different_times() -> None:
    head, values = attention_of(5), some_values(9)
    memory, count = empty(5)
    memory[0], count[0] = 7.0, 2  # of these five, only the last two count
    _, early = head(values[1:2, :3], tuple(part[1:2] for part in empty(5)))
    memory[1], count[1] = early[0][0], early[1][0]
    outputs, _ = head(values[:, 3:], (memory, count))
    alone, _ = head(values[1:2, 3:], early)
    torch.testing.assert_close(outputs[1:2], alone)
    memory[0, :3] = -99.0
    torch.testing.assert_close(head(values[:, 3:], (memory, count))[0], outputs)
    memory[0, 3] = -99.0
    assert not torch.allclose(head(values[:, 3:], (memory, count))[0][0], outputs[0])


def twins(cell: str, span: int = 6, **settings: Any) -> tuple[CharRNN, NumpyModel]:
    config = ModelConfig(
        vocab_size=VOCAB,
        cell=cell,
        hidden_size=16,
        embedding_size=16,
        attention=span,
        **{"num_layers": 1} | settings,
    )
    model = perturbed(build(config, seed=1).eval())
    return model, NumpyModel(
        config, {name: value.numpy() for name, value in model.state_dict().items()}
    )


def some_ids(time: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, VOCAB, (BATCH, time))


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "layer_norm": False, "tied": True}], ids=["usual", "other"]
)
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_the_numpy_model_equals_the_torch_model(cell: str, settings: dict[str, Any]) -> None:
    torch_model, model = twins(cell, **settings)
    ids = some_ids(20)
    expected, last = torch_model(torch.from_numpy(ids))
    first, state = model.run(ids[:, :9], model.initial_state(BATCH))
    second, state = model.run(ids[:, 9:], state)
    np.testing.assert_allclose(
        np.concatenate([first, second], 1), expected.numpy(), rtol=1e-3, atol=1e-3
    )
    for ours, theirs in zip(state, last, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_a_model_begins_as_the_same_model_without(cell: str) -> None:
    plain, looking = (
        build(
            ModelConfig(
                vocab_size=VOCAB, cell=cell, hidden_size=16, embedding_size=8, attention=span
            ),
            seed=1,
        )
        for span in (0, 6)
    )
    looking.load_state_dict(plain.state_dict(), strict=False)
    ids = torch.from_numpy(some_ids(20))
    torch.testing.assert_close(looking(ids)[0], plain(ids)[0])


@torch.no_grad()
def test_the_past_beyond_the_cell_is_used() -> None:
    """What a step saw 50 steps ago changes its prediction through the memory alone.

    The cell has forgotten it.
    """
    looking, _ = twins("mingru", span=60, layer_norm=False)
    looking.layers[0].cell.bias[:16] = 30.0  # the update gate: open
    ids = torch.from_numpy(some_ids(55))
    changed = ids.clone()
    changed[:, 2] = (ids[:, 2] + 1) % VOCAB
    assert not torch.allclose(looking(ids)[0][:, 54], looking(changed)[0][:, 54])
    looking.attention.output.weight.zero_()
    assert torch.allclose(looking(ids)[0][:, 54], looking(changed)[0][:, 54])
