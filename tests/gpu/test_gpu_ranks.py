"""Several ranks on one GPU by gloo, and NCCL: the same gradients as one process."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import settings_id
from comparison import Outcome, assert_close, outcome, sentences, trainer_on
from process_cases import OURS, SECONDS, charrnn, ended, start, torchrun
from small_runs import arguments, results

pytestmark = pytest.mark.gpu

SCRIPT = str(Path(__file__).parent / "ranks.py")
CASES: list[dict[str, Any]] = [
    {},
    {"cell": "gru", "attention": 24, "accumulate": 2},
    {"cell": "mingru", "adaptive": True},
    {"records": "lines", "optimizer": "adamw"},
]


def of_ranks(count: int, folder: Path, device: str, backend: str, settings: Any) -> list[Outcome]:
    """Return what each of some ranks has come to."""
    words = [SCRIPT, str(folder), device, backend, json.dumps(settings)]
    for done in ended(start([words] * count)):
        assert done.returncode == 0, done.stderr
    found = []
    for rank in range(count):
        plain = json.loads((folder / f"{rank}.json").read_text())
        found.append(Outcome(gradients=dict(np.load(folder / f"{rank}.npz")), **plain))
    return found


@pytest.mark.parametrize("settings", CASES, ids=settings_id)
def test_two_ranks_on_one_gpu_compute_what_one_process_computes(
    gpu: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    expected = outcome(trainer_on("cpu", **settings))
    for found in of_ranks(2, tmp_path, gpu, "gloo", settings):
        assert_close(found, expected)


def test_nccl_takes_gradients_and_gloo_the_rest(gpu: str, tmp_path: Path) -> None:
    """In a group of one, which is all that one GPU allows."""
    backend = "gloo" if gpu == "cpu" else "nccl"
    (found,) = of_ranks(1, tmp_path, gpu, backend, {})
    assert_close(found, outcome(trainer_on("cpu")))


@pytest.mark.parametrize("settings", CASES, ids=settings_id)
def test_ranks_with_a_gpu_each_compute_what_one_process_computes(
    cuda: torch.device, tmp_path: Path, settings: dict[str, Any]
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is only one GPU")
    expected = outcome(trainer_on("cpu", **settings))
    for found in of_ranks(2, tmp_path, "cuda", "nccl", settings):
        assert_close(found, expected)


@pytest.mark.parametrize("backend", ["auto", "nccl"])
def test_more_ranks_than_gpus_are_refused_except_with_gloo(
    cuda: torch.device, tmp_path: Path, backend: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(), encoding="utf-8")
    count = torch.cuda.device_count() + 1
    words = arguments(device="cuda", backend=backend, steps=2)
    found = charrnn("train", str(text), "--out", str(tmp_path / "run"), *words, ranks=count)
    assert [one.returncode for one in found] == [5] * count
    assert f"{count} ranks were started on a machine with" in "".join(one.stderr for one in found)
    assert "Traceback" not in "".join(one.stderr for one in found)


def test_torchrun_with_one_rank_is_the_command_without_it(gpu: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(), encoding="utf-8")
    settings = {"hidden_size": 32, "batch_size": 4, "steps": 6, "eval_every": 3, "dropout": 0.2}
    words = arguments(device=gpu, backend="gloo" if gpu == "cpu" else "nccl", **settings)
    for name, command in {
        "plain": ["-m", "charrnn"],
        "torchrun": torchrun("--standalone", "--nproc-per-node", "1", "-m", "charrnn")[1:],
    }.items():
        own = [*torchrun()[:1], *command, "train", str(text), "--out", str(tmp_path / name)]
        done = subprocess.run(
            [*own, *words], env=OURS, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
    assert results(tmp_path / "plain") == results(tmp_path / "torchrun")
