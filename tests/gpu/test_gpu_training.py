"""Training on a GPU comes to what training on the CPU comes to."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from comparison import (
    NATS,
    RELATIVE,
    Outcome,
    assert_close,
    distance,
    evaluated,
    outcome,
    trainer_on,
)

from charrnn.config.cells import CELLS
from charrnn.model.cells.fast import CUDNN_WITH_BFLOAT16
from charrnn.model.dropout import Dropout
from charrnn.training.optimizer import orthogonalise
from charrnn.training.trainer import Trainer

pytestmark = pytest.mark.gpu

# Every cell with every way to cut a text and every output layer, each pair of them once.
CASES = all_pairs(
    [{"cell": cell} for cell in CELLS]
    + [{"cell": "rnn", "activation": "relu"}, {"cell": "rnn", "activation": "sigmoid"}],
    [
        {},
        {"batcher": "random"},
        {"bptt": "random"},
        {"bptt": "full", "steps": 2},
        {"bptt_stride": 8},
        {"seq_len_start": 8},
        {"records": "lines"},
        {"accumulate": 2},
    ],
    [
        {},
        {"attention": 24},
        {"attention": 70, "seq_len": 100},
        {"adaptive": True},
        {"tied": True, "embedding_size": 64},
        {"residual": True, "layer_norm": False},
    ],
    [{"optimizer": "muon"}, {"optimizer": "adamw"}],
)
RECURRENT = [cell for cell, spec in CELLS.items() if spec.recurrent]


@cache
def on_cpu(cell: str) -> Outcome:
    return outcome(trainer_on("cpu", cell=cell))


@pytest.mark.parametrize("settings", CASES, ids=settings_id)
def test_in_float32_a_gpu_learns_what_a_cpu_learns(gpu: str, settings: dict[str, Any]) -> None:
    """Losses, norms, first gradients and the score after it, to four digits.

    TF32, which cuDNN takes by default, has three.
    """
    assert_close(outcome(trainer_on(gpu, **settings)), outcome(trainer_on("cpu", **settings)))


@pytest.mark.parametrize("cell", CELLS)
def test_in_bfloat16_losses_stay_close(gpu: str, cell: str) -> None:
    found = outcome(trainer_on(gpu, precision="bf16", cell=cell))
    np.testing.assert_allclose(found.losses, on_cpu(cell).losses, atol=NATS)
    assert found.valid == pytest.approx(on_cpu(cell).valid, abs=NATS)


@pytest.mark.parametrize("cell", CELLS)
def test_small_gradients_are_not_lost_in_bfloat16(gpu: str, cell: str) -> None:
    """As they would be in float16, whose smallest number is 6e-8."""
    gradients = []
    for factor in (1.0, 2.0**-40):
        trainer = trainer_on(gpu, precision="bf16", cell=cell)
        batch = trainer.batcher.next_batch().to(trainer.model.device)
        with trainer.autocast():
            loss, _ = trainer.gradients.module(batch, None)
        (loss * (factor / batch.tokens)).backward()
        gradients.append(
            {
                name: parameter.grad.cpu().double().numpy() / factor
                for name, parameter in trainer.model.named_parameters()
                if parameter.grad is not None
            }
        )
    for name, gradient in gradients[0].items():
        assert distance(gradients[1][name], gradient) < 0.01, name


@pytest.mark.parametrize("cell", RECURRENT)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_fused_kernels_run_in_the_format_that_was_asked_for(
    cuda: torch.device, cell: str, precision: str
) -> None:
    """Except for bfloat16 if cuDNN does not have it: then it is float32."""
    trainer = trainer_on("cuda", precision=precision, cell=cell)
    batch = trainer.batcher.next_batch().to(cuda)
    with trainer.autocast():
        _, carried = trainer.model.hidden(batch.inputs)
    expected = torch.float16
    if precision == "bf16":
        old = torch.backends.cudnn.version() < CUDNN_WITH_BFLOAT16
        expected = torch.float32 if old else torch.bfloat16
    assert {part.dtype for part in carried} == {expected}


@pytest.mark.parametrize("cell", CELLS)
def test_in_float16_losses_stay_close(gpu: str, cell: str) -> None:
    found = outcome(trainer_on(gpu, precision="fp16", cell=cell))
    np.testing.assert_allclose(found.losses, on_cpu(cell).losses, atol=NATS)
    assert found.valid == pytest.approx(on_cpu(cell).valid, abs=NATS)


def test_an_overflow_in_float16_halves_the_scale_and_moves_nothing(gpu: str) -> None:
    trainer = trainer_on(gpu, precision="fp16", cell="gru", steps=100)
    trainer.train_once()
    trainer.scaler.update(2.0**40)  # no gradient survives that
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    event = trainer.train_once()
    assert math.isfinite(event.loss)
    assert not math.isfinite(event.grad_norm)
    assert trainer.scaler.get_scale() == 2.0**39
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    while not math.isfinite(event.grad_norm):
        event = trainer.train_once()
    assert 2.0 <= trainer.scaler.get_scale() < 2.0**39
    assert not torch.equal(trainer.model.head_bias, before["head_bias"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dropout_is_drawn_from_the_seed(gpu: str, precision: str) -> None:
    def losses(seed: int) -> list[float]:
        return outcome(trainer_on(gpu, precision=precision, dropout=0.3, seed=seed)).losses

    assert losses(1) == losses(1) != losses(2)


def test_dropout_keeps_its_share_and_the_mean(gpu: str) -> None:
    torch.manual_seed(1)
    values = Dropout(0.25)(torch.ones(1000, 1000, device=gpu))
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])


def test_dropout_learns_about_what_it_learns_on_a_cpu(gpu: str) -> None:
    """From other masks, so only roughly."""
    one, other = (
        outcome(trainer_on(device, dropout=0.2, steps=30)).valid for device in (gpu, "cpu")
    )
    assert one == pytest.approx(other, abs=0.1)


@pytest.mark.parametrize("shape", [(4, 64, 32), (4, 64, 64), (1, 64, 200), (3, 128, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_muons_batched_products_are_those_of_a_cpu(
    gpu: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    blocks = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    found = orthogonalise(blocks.to(gpu, dtype)).float().cpu().numpy()
    expected = orthogonalise(blocks.double()).numpy()
    assert distance(found, expected) < (RELATIVE if dtype == torch.float32 else 0.03)


def steps(trainer: Trainer, count: int) -> list[float]:
    return [trainer.train_once().loss for _ in range(count)]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "settings",
    [{"cell": cell} for cell in CELLS]
    + [
        {"attention": 24},
        {"adaptive": True},
        {"batcher": "random", "tied": True, "embedding_size": 64},
    ],
    ids=settings_id,
)
def test_a_restored_training_goes_on_to_the_same_bits(
    gpu: str, settings: dict[str, Any], precision: str
) -> None:
    """With dropout, whose masks come from the GPU's own generator."""

    def make() -> Trainer:
        return trainer_on(gpu, precision=precision, dropout=0.3, **settings)

    whole = make()
    steps(whole, 5)
    saved, facts = whole.state()
    expected = steps(whole, 5)
    evaluated(whole)
    torch.randn(100, device=gpu)  # somebody else's draws
    other = make()
    other.restore(saved, facts)
    assert steps(other, 5) == expected
    arrays = other.state()[0]
    for name, array in whole.state()[0].items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_evaluating_more_often_leaves_the_weights_as_they_are(gpu: str) -> None:
    def weights(evaluations: int) -> dict[str, torch.Tensor]:
        trainer = trainer_on(gpu, dropout=0.3, precision="bf16")
        for step in range(6):
            trainer.train_once()
            if step < evaluations:
                evaluated(trainer)
        return trainer.model.state_dict()

    one, other = weights(0), weights(6)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
