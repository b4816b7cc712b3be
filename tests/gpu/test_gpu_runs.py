"""Whole runs on a GPU: the device that is chosen, resuming there and elsewhere, memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CHARRNN, Terminal, process
from comparison import RELATIVE, distance, sentences, trainer_on
from process_cases import OURS
from small_runs import arguments, results, run, weights

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import InterruptedRun
from charrnn.runtime.device import choose_device, free_memory
from charrnn.runtime.precision import possible_precisions
from charrnn.training.memory import memory_bytes
from charrnn.training.precision import choose_precision
from charrnn.training.trainer import Trainer

pytestmark = pytest.mark.gpu

SETTINGS: dict[str, Any] = {
    "hidden_size": 32,
    "embedding_size": 16,
    "num_layers": 2,
    "batch_size": 4,
    "device": "auto",
}
RUNS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "gru, random": {"cell": "gru", "batcher": "random"},
    "mingru, attention": {"cell": "mingru", "attention": 12},
}


def stopping_after(steps: int) -> Callable[[], int | None]:
    """Return what asks a run to stop, after so many times of being asked."""
    asked = iter(range(1000))
    return lambda: 2 if next(asked) >= steps else None


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that hides the GPU from `auto`, or shows it again."""
    return lambda device: monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")


def test_auto_is_the_gpu_and_considers_the_formats_that_it_is_made_for(cuda: torch.device) -> None:
    assert choose_device("auto").type == "cuda"
    new = torch.cuda.get_device_capability() >= (8, 0)
    assert possible_precisions("auto", cuda) == (("fp32", "bf16") if new else ("fp32",))


def test_a_wide_model_trains_in_the_format_that_is_faster(cuda: torch.device) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no bfloat16")
    wide = ModelConfig(vocab_size=30, hidden_size=1024)
    chosen = choose_precision(wide, TrainConfig(device="cuda", batch_size=256, seq_len=128))
    assert (chosen.name, chosen.note) == ("bf16", "")


def test_free_memory_is_the_gpus(cuda: torch.device) -> None:
    total = torch.cuda.get_device_properties(cuda).total_memory
    free = free_memory(choose_device("cuda"))
    assert free is not None
    assert 0 < free <= total
    held = torch.empty(1 << 28, dtype=torch.uint8, device=cuda)
    less = free_memory(choose_device("cuda"))
    assert less is not None
    assert less <= free - held.numel() // 2


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_ends_with_the_same_bytes(gpu: str, tmp_path: Path, name: str) -> None:
    """With dropout, and stopped twice."""
    if (gpu, name) == ("cpu", "fp16"):
        pytest.skip("a CPU has no float16")
    settings = SETTINGS | {"device": gpu, "dropout": 0.3} | RUNS[name]
    run(tmp_path / "whole", **settings)
    for steps in (4, 5):
        with pytest.raises(InterruptedRun):
            run(tmp_path / "parts", should_stop=stopping_after(steps), **settings)
    run(tmp_path / "parts", **settings)
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


@pytest.mark.parametrize("gpu_first", [True, False])
@pytest.mark.parametrize("settings", [{}, {"cell": "gru", "attention": 8}, {"optimizer": "adamw"}])
def test_a_run_moves_between_the_devices(
    gpu: str,
    tmp_path: Path,
    use: Callable[[str], None],
    *,
    settings: dict[str, Any],
    gpu_first: bool,
) -> None:
    """Begun on one and ended on the other, it ends with the weights of a run on the CPU."""
    chosen = SETTINGS | settings
    use("cpu")
    run(tmp_path / "whole", **chosen)
    first, second = (gpu, "cpu") if gpu_first else ("cpu", gpu)
    use(first)
    with pytest.raises(InterruptedRun):
        run(tmp_path / "moved", should_stop=stopping_after(6), **chosen)
    use(second)
    run(tmp_path / "moved", **chosen)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "moved")
    for name, array in expected.items():
        assert distance(found[name], array) < 10 * RELATIVE, name
    *_, last = results(tmp_path / "moved")["metrics"]
    *_, other = results(tmp_path / "whole")["metrics"]
    assert last["valid"] == pytest.approx(other["valid"], rel=RELATIVE)


def test_dropout_moves_between_the_devices_too(
    gpu: str, tmp_path: Path, use: Callable[[str], None]
) -> None:
    """To other masks: a run needs no more than its seed to go on."""
    settings = SETTINGS | {"dropout": 0.3}
    for device, steps in ((gpu, 4), ("cpu", 4), (gpu, 100)):
        use(device)
        try:
            run(tmp_path / "run", should_stop=stopping_after(steps), **settings)
        except InterruptedRun:
            continue
    assert results(tmp_path / "run")["metrics"][-1]["step"] == 14


def test_the_commands_run_on_the_gpu(gpu: str, charrnn: Terminal, tmp_path: Path) -> None:
    text, folder = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(sentences(), encoding="utf-8")
    words = arguments(steps=20, hidden_size=64, batch_size=8, device=gpu, precision="fp32")
    charrnn.ok("train", text, "--out", folder, "--quiet", *words)
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(sentences(20), encoding="utf-8")
    scores = [
        json.loads(charrnn.ok("eval", folder, held_out, "--json", "--device", device).out)
        for device in (gpu, "cpu")
    ]
    one, other = scores
    assert one["bits_per_char"] == pytest.approx(other["bits_per_char"], rel=RELATIVE)
    assert charrnn.ok("sample", folder, "the ", "--length", 20).out


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": 512, "batch_size": 64, "seq_len": 64},
        {"hidden_size": 512, "batch_size": 64, "seq_len": 64, "cell": "gru"},
        {"hidden_size": 512, "batch_size": 32, "seq_len": 128, "cell": "mingru", "num_layers": 4},
        {"hidden_size": 256, "batch_size": 32, "seq_len": 256, "attention": 128},
    ],
    ids=["lstm", "gru", "mingru", "attention"],
)
def test_the_estimate_of_memory_is_within_a_factor_of_two(
    cuda: torch.device, settings: dict[str, Any]
) -> None:
    trainer = trainer_on("cuda", **settings)
    before = torch.cuda.memory_allocated() - weights_bytes(trainer)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        trainer.train_once()
    taken = torch.cuda.max_memory_allocated() - before
    config = trainer.config
    estimated = memory_bytes(trainer.model.config, [(config.batch_size, config.seq_len)])
    assert taken / 2 < estimated < 2 * taken


def weights_bytes(trainer: Trainer) -> int:
    """Return the bytes that a trainer holds on its device before its first step."""
    held = [*trainer.model.state_dict().values(), *trainer.optimizer.state().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor.is_cuda)


def test_too_large_a_model_is_refused_before_it_is_made(
    cuda: torch.device, charrnn: Terminal, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(), encoding="utf-8")
    words = arguments(steps=2, hidden_size=16384, num_layers=64, device="cuda")
    refused = charrnn("train", text, "--out", tmp_path / "run", *words)
    assert refused.code == 5
    assert "GB of memory" in refused.err


LIMITED = """
import torch
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(3e8 / total)
"""


@pytest.mark.parametrize("when", ["training", "scoring"])
def test_too_little_memory_on_the_way_is_one_line(
    cuda: torch.device, charrnn: Terminal, tmp_path: Path, when: str
) -> None:
    """As when another program takes it."""
    text = tmp_path / "text.txt"
    text.write_text(30 * sentences(), encoding="utf-8")
    small = arguments(steps=2, hidden_size=16, device="cuda")
    large = arguments(steps=2, hidden_size=1024, batch_size=256, seq_len=256, device="cuda")
    words = ["train", str(text), "--out", str(tmp_path / "run"), "--quiet"]
    if when == "training":
        done = process(LIMITED + CHARRNN, *words, *large, env=OURS)
    else:
        charrnn.ok(*words, *small)
        tight = LIMITED.replace("3e8", "1e6")
        words = ["eval", str(tmp_path / "run"), str(text), "--device", "cuda"]
        done = process(tight + CHARRNN, *words, env=OURS)
    assert done.code == 5, done.err
    assert "Out of memory" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 2  # what is wrong, and what to do


def test_without_a_gpu_the_same_command_says_so(cuda: torch.device, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(), encoding="utf-8")
    words = ["train", str(text), "--out", str(tmp_path / "run"), "--device", "cuda"]
    done = process(CHARRNN, *words, env=OURS | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 5
    assert "finds none" in done.err


def test_float32_is_not_rounded_to_tf32(cuda: torch.device) -> None:
    """Neither by cuDNN nor by cuBLAS, once charrnn has chosen the device."""
    torch.backends.cudnn.allow_tf32 = True
    device = choose_device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    one = torch.randn(8, 64, 256, generator=torch.Generator().manual_seed(1))
    lstm = torch.nn.LSTM(256, 256, batch_first=True)
    with torch.inference_mode():
        expected = lstm(one)[0].numpy()
        found = lstm.to(device)(one.to(device))[0].cpu().numpy()
    assert distance(found, expected) < 1e-5
