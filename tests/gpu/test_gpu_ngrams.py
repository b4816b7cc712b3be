"""N-gram embeddings and matches on a GPU: sparse gradients, the loss scale, ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import settings_id
from comparison import (
    NATS,
    RELATIVE,
    assert_close,
    dense,
    distance,
    evaluated,
    outcome,
    saved,
    sentences,
    trainer_on,
)
from test_gpu_ranks import of_ranks

from charrnn.api import Model

pytestmark = pytest.mark.gpu

TABLES: dict[str, Any] = {"ngram_embedding": 4, "ngram_rows": 500}
CASES: list[dict[str, Any]] = [
    TABLES,
    TABLES | {"cell": "mingru", "accumulate": 2, "ngram_path": "output"},
    TABLES | {"tied": True, "embedding_size": 64, "bptt_stride": 8},
    TABLES | {"attention": 24, "optimizer": "adamw", "clip_value": 0.001, "ngram_path": "both"},
    TABLES | {"records": "lines", "ngram_rows": 7},
    TABLES | {"match_window": 40, "match_length": 1, "ngram_path": "both"},
]


@pytest.mark.parametrize("settings", CASES, ids=settings_id)
def test_in_float32_a_gpu_learns_what_a_cpu_learns(gpu: str, settings: dict[str, Any]) -> None:
    assert_close(outcome(trainer_on(gpu, **settings)), outcome(trainer_on("cpu", **settings)))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_short_formats_losses_stay_close(gpu: str, precision: str) -> None:
    """With float16, the scale is taken out of sparse gradients too."""
    found = outcome(trainer_on(gpu, precision=precision, cell="gru", **TABLES))
    expected = outcome(trainer_on("cpu", cell="gru", **TABLES))
    np.testing.assert_allclose(found.losses, expected.losses, atol=NATS)
    np.testing.assert_allclose(found.norms, expected.norms, rtol=0.05)


def test_an_overflow_moves_no_row(gpu: str) -> None:
    trainer = trainer_on(gpu, precision="fp16", cell="gru", **TABLES)
    trainer.train_once()
    trainer.scaler.update(2.0**40)
    (table,) = trainer.model.tables()
    before = table.detach().clone()
    assert not np.isfinite(trainer.train_once().grad_norm)
    assert torch.equal(table, before)


def test_dropout_of_ngrams_scales_what_is_kept(gpu: str) -> None:
    """So that the gradient of a row is that many times as large, or zero."""
    trainer = trainer_on(gpu, **TABLES | {"ngram_dropout": 0.5})
    layer = trainer.model.ngrams
    assert layer is not None
    ids = torch.randint(0, 20, (4, 30), generator=torch.Generator().manual_seed(1)).to(gpu)
    before = torch.zeros(4, 3, device=gpu)
    layer.train()
    layer(ids, before)[0].sum().backward()
    dropped = dense(layer.weight.grad)
    layer.weight.grad = None
    layer.eval()
    layer(ids, before)[0].sum().backward()
    whole = dense(layer.weight.grad)
    assert float(dropped.sum()) == pytest.approx(float(whole.sum()), rel=0.15)
    assert set((dropped / 2)[:, 0].round().tolist()) >= {0.0, 1.0}
    assert bool((dropped <= 2 * whole).all())


def test_the_rows_of_a_batch_are_the_same_on_both_devices(gpu: str) -> None:
    """Their hash works on integers of 64 bits."""
    ids = torch.randint(0, 20, (4, 30), generator=torch.Generator().manual_seed(1))
    found = []
    for device in (gpu, "cpu"):
        trainer = trainer_on(device, **TABLES)
        with torch.no_grad():
            for table in trainer.model.tables():
                values = torch.randn(table.shape, generator=torch.Generator().manual_seed(2))
                table.copy_(values)
            assert trainer.model.ngrams is not None
            sums, codes = trainer.model.ngrams(ids.to(device), torch.zeros(4, 3, device=device))
        found.append((sums.cpu().numpy(), codes.cpu().numpy()))
    assert distance(found[0][0], found[1][0]) < RELATIVE
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_restored_training_goes_on_to_the_same_bits(gpu: str, precision: str) -> None:
    settings = TABLES | {"cell": "gru", "dropout": 0.3, "ngram_dropout": 0.3}
    whole, other = (trainer_on(gpu, precision=precision, **settings) for _ in range(2))
    for _ in range(5):
        whole.train_once()
    state, facts = whole.state()
    expected = [whole.train_once().loss for _ in range(5)]
    other.restore(state, facts)
    assert [other.train_once().loss for _ in range(5)] == expected
    arrays = other.state()[0]
    for name, array in whole.state()[0].items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_two_ranks_on_one_gpu_send_each_other_their_rows(gpu: str, tmp_path: Path) -> None:
    expected = outcome(trainer_on("cpu", **TABLES))
    for found in of_ranks(2, tmp_path, gpu, "gloo", TABLES):
        assert_close(found, expected)


def test_scores_agree_and_numpy_samples(gpu: str) -> None:
    trainer = trainer_on(gpu, **TABLES)
    for _ in range(8):
        trainer.train_once()
    model = Model(saved(trainer))
    text = sentences(30)
    one, other = (model.score(text, device=device).nats for device in (gpu, "cpu"))
    assert one == pytest.approx(other, rel=RELATIVE)
    assert evaluated(trainer) > 0
    assert len(model.generate("the ", length=30, seed=1)) == 30
