"""What the machine provides: the device, its number format, threads and memory."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from charrnn.config.training import TrainConfig
from charrnn.errors import MachineError


def choose_device(name: str) -> torch.device:
    """Return the device that `name` asks for; `auto` is the first available of cuda, mps and cpu.

    On CUDA, float32 then means float32: by default, cuDNN rounds the factors of its products to 10
    bits of precision (TF32).

    Raises:
        UsageError: `name` is not the name of a device.
        MachineError: The device is not available.
    """
    TrainConfig(device=name)  # checks the name
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
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def prepare_cpu(threads: int | None, processes: int = 1) -> int:
    """Set torch's number of CPU threads and return it; also call `keep_memory`.

    Args:
        threads: Number of threads; None is torch's default, or with several processes an equal
            part of the cores, unless OMP_NUM_THREADS says otherwise.
        processes: Processes of this run on this machine.

    Raises:
        UsageError: `threads` is out of range.
    """
    TrainConfig(threads=threads)  # checks the number
    keep_memory()
    set_by_torchrun = os.environ.get("OMP_NUM_THREADS", "1") == "1"
    if threads is None and processes > 1 and set_by_torchrun:
        threads = max(1, cores() // processes)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def keep_memory() -> bool:
    """Make malloc keep the memory that a training step frees, for the next step.

    glibc returns large blocks to the system as soon as they are freed, and gets them back as pages
    that the system has to clear, one page fault each: up to half the time of a training step.
    Nothing is changed without glibc, or where the environment already configures malloc.

    Returns:
        Whether malloc was configured.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    configured = configured or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if configured or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of memory that are free on a device, or None if that is unknown."""
    if device.type == "cuda":
        # What torch has freed, but keeps for later, is free for this process alone.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        return max(0, int(facts["MemAvailable"].split()[0])) * 1024
    except (OSError, ValueError, LookupError):  # not Linux: return the total memory instead
        names = getattr(os, "sysconf_names", {})
        known = "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def processes_per_device(device: torch.device, processes: int) -> int:
    """Return how many of a machine's `processes` share one device, at the most."""
    devices = torch.cuda.device_count() if device.type == "cuda" else 1
    return -(-processes // devices)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which matrix products run in `precision`: fp32, bf16 or fp16."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
