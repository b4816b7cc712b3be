"""Choices of device and number format on machines of every kind.

They are made up by patching what torch says is there.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.config.training import DEVICES
from charrnn.errors import MachineError
from charrnn.runtime.device import (
    autocast,
    choose_device,
    free_memory,
    keep_memory,
    prepare_cpu,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
NUMBERS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be a machine with these devices, this GPU and these processor instructions."""

    def pretend(*devices: str, gpu: tuple[int, int] = (8, 0), **instructions: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in devices)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpu)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)

    return pretend


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("mps", "cuda"), "cuda")],
    ids=["none", "mps", "cuda", "both"],
)
def test_auto_is_the_fastest_device_that_is_there(
    machine: Any, devices: tuple[str, ...], chosen: str
) -> None:
    machine(*devices)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "auto"])
def test_a_device_that_is_there_is_taken(machine: Any, name: str) -> None:
    machine("cuda", "mps")
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(machine: Any, name: str) -> None:
    machine()
    with pytest.raises(MachineError, match=f"`device` {name} was asked for.*finds none") as caught:
        choose_device(name)
    assert "`device` cpu" in caught.value.hint
    assert choose_device("cpu") == CPU


def test_threads_are_set_only_if_a_number_is_given() -> None:
    before = torch.get_num_threads()
    try:
        assert prepare_cpu(None) == before
        assert prepare_cpu(2) == torch.get_num_threads() == 2
        assert prepare_cpu(None) == 2
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource
import torch
from charrnn.runtime.device import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
given_back, kept = faults(), keep_memory()
faults()
print(given_back, kept, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_memory_that_is_freed_stays_with_the_process() -> None:
    """40 MB, ten times: its pages are cleared each time, or once."""
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=clean, check=True, capture_output=True, text=True)
    given_back, kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < int(given_back) / 10


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=65536")],
)
def test_somebodys_own_settings_of_the_allocator_stay(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(name, value)
    assert not keep_memory()


def test_only_linux_has_the_allocator_that_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not keep_memory()


@pytest.mark.parametrize("precision", NUMBERS)
def test_matrix_products_run_in_the_number_format(precision: str) -> None:
    matrix = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (matrix @ matrix).dtype == NUMBERS[precision]
    assert (matrix @ matrix).dtype == torch.float32


def test_the_memory_that_is_free_is_told_in_bytes() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is not None
    assert 1 << 24 < free < 1 << 50


def test_where_no_list_of_free_memory_is_all_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: "something else")
    assert free_memory(torch.device("cpu")) == os.sysconf("SC_PHYS_PAGES") * os.sysconf(
        "SC_PAGE_SIZE"
    )
    monkeypatch.setattr(os, "sysconf_names", {})
    assert free_memory(torch.device("cpu")) is None
