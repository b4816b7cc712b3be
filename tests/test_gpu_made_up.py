"""What happens on a machine with GPUs, as far as one without can tell: torch.cuda is made up.

The tests in `tests/gpu` run on a real one.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Terminal
from small_runs import OPTIONS

from charrnn.config.model import ModelConfig
from charrnn.errors import MachineError
from charrnn.model.cells import fast
from charrnn.model.cells.layer import RecurrentLayer
from charrnn.runtime.device import choose_device, free_memory, processes_per_device
from charrnn.runtime.distributed import ProcessGroup
from charrnn.runtime.precision import fastest_precision
from charrnn.runtime.rendezvous import _backend
from charrnn.training import resume
from charrnn.training.trainer import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PROVE = Path(__file__).parent / "gpu" / "prove.py"
LACK = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Pretend that there are two GPUs; yield the numbers of those that are chosen."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    before = torch.backends.cudnn.allow_tf32
    yield chosen
    torch.backends.cudnn.allow_tf32 = before


# --- number formats


def test_with_a_gpu_chosen_float32_is_not_rounded_to_tf32(gpus: list[int]) -> None:
    torch.backends.cudnn.allow_tf32 = True
    choose_device("cpu")
    assert torch.backends.cudnn.allow_tf32
    choose_device("auto")
    assert not torch.backends.cudnn.allow_tf32
    with torch.backends.cudnn.flags(enabled=False):  # as dynamic evaluation has it
        pass
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("device", "dtype", "cudnn", "expected"),
    [
        (CUDA, torch.bfloat16, 92000, torch.bfloat16),
        (CUDA, torch.bfloat16, 91002, torch.float32),
        (CUDA, torch.bfloat16, None, torch.float32),
        (CUDA, torch.float16, 92000, None),
        (CUDA, None, 92000, None),
        (CPU, torch.bfloat16, 92000, None),
    ],
    ids=["bf16", "old cudnn", "no cudnn", "fp16", "fp32", "cpu"],
)
def test_on_cuda_bfloat16_is_cast_to_by_hand(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, dtype: Any, cudnn: Any, expected: Any
) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: dtype is not None)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: dtype)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    assert fast.format_to_cast_to(device) == expected


@pytest.mark.parametrize(
    "settings",
    [{"cell": "lstm"}, {"cell": "gru"}, {"cell": "rnn"}, {"cell": "rnn", "activation": "relu"}],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_kernel_that_is_cast_computes_what_the_layer_does(
    settings: dict[str, Any], dtype: torch.dtype
) -> None:
    """To the digits of its format: outputs, states, and gradients, however small they are."""
    torch.manual_seed(1)
    layer = RecurrentLayer(12, ModelConfig(hidden_size=24, **settings))
    inputs = torch.randn(3, 9, 12)
    state = tuple(0.5 * torch.randn(3, 24) for _ in range(layer.spec.num_states))
    found = []
    for run, factor in (
        (lambda: fast.run_layer(layer, inputs, state), 1.0),
        (lambda: fast.cast_kernel(layer, inputs, state, dtype), 2.0**-40),
    ):
        outputs, after = run()
        gradients = torch.autograd.grad(outputs.float().sum() * factor, [*layer.parameters()])
        found.append((outputs, after, [gradient / factor for gradient in gradients]))
    (expected, states, slopes), (outputs, after, gradients) = found
    error = 0.03 if dtype == torch.bfloat16 else 1e-5
    assert {part.dtype for part in (outputs, *after)} == {dtype}
    for one, other in zip((outputs, *after), (expected, *states), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.float(), other, atol=error, rtol=error)
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert gradient.dtype == torch.float32
        assert float((gradient - slope).norm()) < error * float(slope.norm())


# --- several ranks


def test_ranks_share_gpus_only_where_gloo_connects_them(gpus: list[int]) -> None:
    three = [ProcessGroup(rank, 3, rank, 3) for rank in range(3)]
    for backend in ("auto", "nccl"):
        with pytest.raises(
            MachineError, match="3 ranks were started on a machine with 2 GPUs"
        ) as e:
            _backend(three[0], "auto", backend)
        assert "`backend` gloo" in e.value.hint
    assert not gpus
    assert {_backend(one, "cuda", "gloo") for one in three} == {"gloo"}
    assert gpus == [0, 1, 0]
    assert _backend(ProcessGroup(1, 2, 1, 2), "auto", "auto") == "cpu:gloo,cuda:nccl"
    assert gpus[-1] == 1


def test_ranks_need_memory_of_the_device_that_they_share(gpus: list[int]) -> None:
    assert [processes_per_device(CUDA, count) for count in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert [processes_per_device(CPU, count) for count in (1, 2, 3)] == [1, 2, 3]


# --- memory


def test_memory_that_torch_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the measurements before a run."""
    facts = {"mem_get_info": (300, 1000), "memory_reserved": 500, "memory_allocated": 200}
    for name, value in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_memory(CUDA) == 600


def lacking(*_: Any, **__: Any) -> Any:
    raise LACK


def test_too_little_memory_of_a_gpu_is_one_line(
    charrnn: Terminal, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new run, and in one that is continued, whose state is not to blame."""
    words = ["train", text, "--out", tmp_path / "run", "--quiet", *OPTIONS]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_once", lacking)
        new = charrnn(*words)
    monkeypatch.setattr(resume, "_new_trainer", lacking)
    for outcome in (new, charrnn(*words)):
        assert outcome.code == 5
        assert outcome.err.startswith("charrnn: Out of memory.")
        assert len(outcome.err.splitlines()) <= 2


def test_a_format_is_not_left_out_because_memory_was_short() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fastest_precision(("fp32", "bf16"), lacking)


# --- make gpu


def test_without_a_gpu_make_gpu_fails_with_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROVE)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("make gpu: ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(PROVE.parent)
    return importlib.import_module("prove")


def test_an_interpreter_that_has_all_is_used_as_it_is(
    prove: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prove, "what_lacks", lambda python: "")
    monkeypatch.setattr(prove, "sees_gpu", lambda python: True)
    monkeypatch.setattr(prove, "set_up", None)
    assert prove.interpreter(13000) == sys.executable


@pytest.mark.parametrize(("driver", "index"), [(12040, "whl/cu126"), (13000, "")])
def test_the_set_up_takes_a_build_of_torch_for_the_driver(
    prove: Any, monkeypatch: pytest.MonkeyPatch, driver: int, index: str
) -> None:
    commands: list[str] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(" ".join(command))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(prove.subprocess, "run", run)
    prove.set_up("python", driver)
    make, torch_alone, rest = commands
    assert "-m venv" in make
    assert "torch==" in torch_alone
    assert index in torch_alone
    assert ("--extra-index-url" in torch_alone) == bool(index)
    assert "--editable .[dev]" in rest


def test_what_an_interpreter_lacks_is_named(prove: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prove.what_lacks(sys.executable) == ""
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: "0.1" if name == "torch" else "999"
    )
    found = ", ".join(prove.lacking())
    assert "torch>=2.9 (it has 0.1)" in found
    assert "typer" in found  # newer than the range
    assert "numpy" not in found


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("pass", ""),
        ("raise SystemExit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "stopp"),
    ],
    ids=["good", "bad", "slow"],
)
def test_what_takes_too_long_is_stopped(prove: Any, program: str, problem: str) -> None:
    found = prove.run([sys.executable, "-c", program], 5)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
