"""The number format of the matrix products, measured: instruction flags do not tell which is fast.

On some processors with bfloat16 instructions, bfloat16 is twice as fast as float32, and on others
half as fast; in some of them, torch's kernels cannot use it at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from charrnn.config.training import TrainConfig
from charrnn.errors import MachineError
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.machine import is_out_of_memory

CLEARLY_FASTER = 1.05  # times as fast as float32, or float32 is kept
SECONDS, ROUNDS = 0.3, 5  # limits of the measurement, after each format's first, slow call


@dataclass(frozen=True)
class Precision:
    """A number format.

    Attributes:
        name: `fp32`, `bf16` or `fp16`.
        note: A sentence about formats that do not work; empty if there are none.
    """

    name: str
    note: str = ""


def possible_precisions(name: str, device: torch.device) -> tuple[str, ...]:
    """Return the formats among which `name` leaves the choice: itself, or for `auto` one or more.

    Raises:
        UsageError: `name` is not the name of a format.
        MachineError: fp16 on a CPU, where torch cannot train in it.
    """
    TrainConfig(precision=name)  # checks the name
    if name == "fp16" and device.type == "cpu":
        hint = "Use `precision` bf16 or fp32 on the CPU."
        raise MachineError("`precision` fp16 needs a GPU.", hint)
    if name != "auto":
        return (name,)
    return ("fp32", "bf16") if _has_bfloat16(device) else ("fp32",)


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; emulated, it is always slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def fastest_precision(
    names: tuple[str, ...], work: Callable[[str], object], group: ProcessGroup = ALONE
) -> Precision:
    """Return the format in which `work` is fastest; float32 unless another is clearly faster.

    Args:
        names: The formats, of which the first is float32.
        work: Does some of the work in a format.
        group: Processes that call this at once. All get the same answer.
    """
    times, notes = dict[str, float](), list[str]()
    for name in names:
        reason = _try(work, name)
        if any(group.all_gather(reason)):
            notes.append(f"{name} does not work on this machine and is left out: {reason}.")
        else:
            times[name] = float("inf")
    began, rounds = time.monotonic(), 0
    while len(times) > 1 and rounds < ROUNDS and group.max(time.monotonic() - began)[0] < SECONDS:
        for name in times:
            before = time.perf_counter()
            work(name)
            (seconds,) = group.max(time.perf_counter() - before)
            times[name] = min(times[name], seconds)
        rounds += 1
    best = min(times, key=lambda name: times[name], default=names[0])
    slower = times.get(names[0], 0.0) < CLEARLY_FASTER * times.get(best, 0.0)
    return Precision(names[0] if slower and names[0] in times else best, " ".join(notes))


def _try(work: Callable[[str], object], name: str) -> str:
    """Call `work` once; return why it failed, or nothing."""
    try:
        work(name)
    except RuntimeError as error:  # such as "could not create a primitive descriptor"
        if is_out_of_memory(error):
            raise
        return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return ""
