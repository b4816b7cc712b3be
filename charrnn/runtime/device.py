"""What the machine offers: the device, its number format, its threads and its memory."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from charrnn.config.schema import TrainConfig
from charrnn.errors import MachineError


def choose_device(name: str) -> torch.device:
    """Return the device that `name` asks for; `auto` is the first of cuda, mps and cpu.

    Raises:
        UsageError: There is no such device.
        MachineError: It is not there.
    """
    TrainConfig(device=name)  # checks it
    present: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if name == "auto":
        name = next(kind for kind, is_there in present.items() if is_there())
    elif not present[name]():
        raise MachineError(
            f"`device` {name} was asked for, but this installation of torch ({torch.__version__}) "
            "finds none.",
            "Use `device` cpu, or install a build of torch for that device.",
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 where there are instructions for it.

    Raises:
        UsageError: There is no such format.
        MachineError: fp16 on a processor, which torch cannot train in.
    """
    TrainConfig(precision=name)  # checks it
    if name == "fp16" and device.type == "cpu":
        hint = "Use `precision` bf16 or fp32 on the CPU."
        raise MachineError("`precision` fp16 needs a GPU.", hint)
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    # AVX-512 alone has bf16 in torch too, but emulated and slower than fp32.
    fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16" if fast else "fp32"


def prepare_cpu(threads: int | None, processes: int = 1) -> int:
    """Set torch's threads, keep memory, and return how many threads there are.

    Args:
        threads: How many; None is as many as torch likes, or this process's share of the cores.
        processes: How many of ours compute on this machine at once.

    Raises:
        UsageError: That is no number of threads.
    """
    TrainConfig(threads=threads)  # checks it
    keep_memory()
    set_by_torchrun = os.environ.get("OMP_NUM_THREADS", "1") == "1"
    if threads is None and processes > 1 and set_by_torchrun:
        threads = max(1, cores() // processes)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def keep_memory() -> bool:
    """Let the memory that a step frees stay with this process, for the next step.

    glibc hands large blocks back to the system as soon as they are free, and is given them anew as
    pages that the system has to clear, one fault for each: up to half of a training step. Without
    glibc, or where the environment configures malloc already, all stays as it is.

    Returns:
        Whether that was arranged.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    configured = configured or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if configured or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def idle_cores() -> int:
    """Return how many processors nobody has kept busy in the last minute, but at least 1."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # no such thing on this system
        load = 0.0
    return max(1, cores() - round(load))


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of memory that a device can still give, or None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, LookupError):  # not Linux: all memory, which is more than is free
        names = getattr(os, "sysconf_names", {})
        known = "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which matrix products run in `precision`: fp32, bf16 or fp16."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
