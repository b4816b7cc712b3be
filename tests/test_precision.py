"""Number formats: which are possible on machines that are made up, and that the fastest is taken.

Work that sleeps stands for the model's work.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.config.training import PRECISIONS, TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.errors import MachineError, UsageError
from charrnn.runtime import precision as precision_module
from charrnn.runtime.precision import Precision, fastest_precision, possible_precisions
from charrnn.training import precision as training_precision
from charrnn.training.precision import choose_precision
from charrnn.training.step import GradientComputer

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
BOTH = ("fp32", "bf16")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be a machine with this GPU and these processor instructions."""

    def pretend(gpu: tuple[int, int] = (8, 0), **instructions: bool) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpu)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)

    return pretend


@pytest.mark.parametrize(
    ("device", "facts", "possible"),
    [
        (CPU, {}, ("fp32",)),
        (CPU, {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, ("fp32",)),
        (CPU, {"avx512_bf16": True}, BOTH),
        (CPU, {"amx_bf16": True}, BOTH),
        (CUDA, {"gpu": (7, 5)}, ("fp32",)),
        (CUDA, {"gpu": (8, 0)}, BOTH),
        (CUDA, {"gpu": (9, 0)}, BOTH),
        (MPS, {"avx512_bf16": True}, ("fp32",)),
    ],
    ids=[
        "plain cpu",
        "cpu without bf16",
        "cpu with avx512_bf16",
        "cpu with amx",
        "old gpu",
        "a100",
        "h100",
        "mps",
    ],
)
def test_auto_considers_bf16_where_there_are_instructions_for_it(
    machine: Any, device: torch.device, facts: dict[str, Any], possible: tuple[str, ...]
) -> None:
    machine(**facts)
    assert possible_precisions("auto", device) == possible


@pytest.mark.parametrize("device", [CPU, CUDA, MPS], ids=str)
@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "auto"])
def test_a_number_format_that_is_asked_for_is_taken_except_fp16_on_a_processor(
    machine: Any, name: str, device: torch.device
) -> None:
    machine(gpu=(5, 0))
    if (name, device) == ("fp16", CPU):
        with pytest.raises(MachineError, match="`precision` fp16 needs a GPU") as caught:
            possible_precisions(name, device)
        assert "bf16" in caught.value.hint
    else:
        assert possible_precisions(name, device) == (name,)


def test_another_name_is_refused() -> None:
    with pytest.raises(UsageError, match="precision"):
        possible_precisions("fp8", CPU)


def test_what_torch_says_of_this_processor_has_the_names_that_are_looked_for() -> None:
    """A renamed entry would quietly make every processor a slow one."""
    if torch.cpu.get_capabilities().get("architecture") in ("x86_64", "AMD64"):
        assert {"avx512_bf16", "amx_bf16"} <= torch.cpu.get_capabilities().keys()


def lasting(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> Callable[[str], None]:
    """Work that takes so long by a clock that only this work moves; the first call takes longer."""
    clock, called = [0.0], set[str]()

    def work(name: str) -> None:
        clock[0] += seconds[name] if name in called else 10.0
        called.add(name)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return work


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [
        (0.01, 0.005, "bf16"),
        (0.01, 0.02, "fp32"),
        (0.01, 0.01, "fp32"),
        (0.0104, 0.01, "fp32"),  # not clearly
        (0.0106, 0.01, "bf16"),
        (9.0, 3.0, "bf16"),
        (3.0, 9.0, "fp32"),
    ],
)
def test_the_fastest_is_taken_if_it_clearly_is(
    fp32: float, bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = lasting(monkeypatch, {"fp32": fp32, "bf16": bf16})
    assert fastest_precision(BOTH, work) == Precision(chosen)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.1])
def test_the_measurement_is_short(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    work = lasting(monkeypatch, {"fp32": seconds, "bf16": seconds})
    fastest_precision(BOTH, work)
    first_calls = 20.0
    limit = precision_module.SECONDS + 2 * seconds
    assert (
        time.monotonic() - first_calls <= min(limit, 2 * precision_module.ROUNDS * seconds) + 1e-9
    )


def test_one_slow_call_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"fp32": 0.01, "bf16": 0.005}
    work, calls = lasting(monkeypatch, seconds), []

    def disturbed(name: str) -> None:
        calls.append(name)
        seconds["bf16"] = 0.09 if len(calls) == 4 else 0.005
        work(name)

    assert fastest_precision(BOTH, disturbed).name == "bf16"


@pytest.mark.parametrize("broken", BOTH)
def test_a_format_that_does_not_work_is_left_out_and_named(broken: str) -> None:
    def work(name: str) -> None:
        if name == broken:
            raise RuntimeError("could not create a primitive descriptor\nmore lines")

    found = fastest_precision(BOTH, work)
    assert found.name != broken
    assert found.note == (
        f"{broken} does not work on this machine and is left out: could not create a primitive "
        "descriptor."
    )


def test_where_nothing_works_float32_is_left_to_say_why() -> None:
    def work(name: str) -> None:
        raise RuntimeError

    assert fastest_precision(BOTH, work).name == "fp32"


def test_a_runs_own_model_is_measured(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(avx512_bf16=True)
    seen: list[tuple[int, str, tuple[int, ...]]] = []
    monkeypatch.setattr(
        training_precision,
        "compute_gradients",
        lambda network, batch, name: seen.append(
            (network.config.hidden_size, name, tuple(batch.inputs.shape))
        ),
    )
    model, config = ModelConfig(vocab_size=20, hidden_size=128), TrainConfig(batch_size=6)
    choose_precision(model, config)
    assert {one[:2] for one in seen} == {(128, "fp32"), (128, "bf16")}
    assert {one[2] for one in seen} == {(6, config.seq_len)}


def test_small_models_and_given_formats_are_not_measured(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(avx512_bf16=True)
    monkeypatch.setattr(training_precision, "build", None)
    small, large = (ModelConfig(vocab_size=20, hidden_size=size) for size in (64, 256))
    assert choose_precision(small, TrainConfig()).name == "fp32"
    for name in BOTH:
        assert choose_precision(large, TrainConfig(precision=name)).name == name


def test_measuring_draws_no_random_numbers(machine: Any) -> None:
    machine(avx512_bf16=True)
    before = torch.get_rng_state()
    choose_precision(ModelConfig(vocab_size=20, hidden_size=96, dropout=0.5), TrainConfig())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ({"source": "text", "source_vocab_size": 9}, (16, 24)),
        ({"source": "label", "source_vocab_size": 9}, (16, 1)),
        ({"source": "image", "image_size": "256x64"}, (4, 64, 256, 3)),
        ({"source": "image", "feature_size": 7}, (16, 24, 7)),
    ],
)
def test_what_reads_sources_is_measured_too(
    source: dict[str, Any],
    shape: tuple[int, ...],
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(avx512_bf16=True)
    seen = []

    def backward(self: GradientComputer, batch: Batch, state: None) -> None:
        assert self.model.source is not None
        assert batch.source is not None
        loss, _ = self.module(batch, state)
        loss.backward()
        seen.append(tuple(batch.source.values.shape))

    monkeypatch.setattr(GradientComputer, "backward", backward)
    model = ModelConfig(vocab_size=20, hidden_size=96, source=SourceConfig(**source))
    choose_precision(model, TrainConfig(batch_size=16, seq_len=24, device="cpu"))
    assert set(seen) == {shape}
