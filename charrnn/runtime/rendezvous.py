"""How a process finds the others of its group: by the environment that torchrun gives it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from charrnn.errors import CharRNNError, MachineError, UsageError
from charrnn.runtime.distributed import ALONE, ConnectionLost, ProcessGroup

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
RENDEZVOUS_TIMEOUT = 120  # seconds for all processes to start; CHARRNN_RANKS_TIMEOUT changes it
SILENCE_TIMEOUT = 1800  # seconds until a silent process is given up; it may have a text to encode


def group_from(environment: Mapping[str, str]) -> ProcessGroup:
    """Return the place that torchrun gives a process in its environment; without one, it is alone.

    Raises:
        UsageError: What stands there makes no sense.
    """
    if any(name not in environment for name in (*PLACE, *ADDRESS)):
        return ALONE
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        numbers = [int(value) for value in (*(environment[name] for name in PLACE), restarts)]
        group = ProcessGroup(*numbers)
    except ValueError:
        group = ProcessGroup(-1)
    sizes_fit = 0 <= group.local_rank < group.local_size <= group.size
    if not (0 <= group.rank < group.size and sizes_fit):
        given = ", ".join(f"{name}={environment[name]}" for name in PLACE)
        message = f"The environment's {given} do not describe a group of processes."
        raise UsageError(message, "Let torchrun set them.")
    return group


def check_alone(command: str) -> None:
    """Raise `UsageError` if torchrun has started several processes of a command that is for one."""
    group = group_from(os.environ)
    if group.size > 1:
        if not group.is_main:
            raise SystemExit(UsageError.exit_code)  # the main process says why
        raise UsageError(
            f"charrnn {command} runs in one process, and {group.size} were started.",
            "Start it without torchrun.",
        )


@contextmanager
def process_group(device: str, backend: str) -> Iterator[ProcessGroup]:
    """Connect to the other processes, if torchrun has started this one as one of several.

    They part when they end.

    Args:
        device: What `choose_device` takes. Each process of a machine gets a GPU of its own.
        backend: `gloo`, `nccl`, or `auto`: NCCL between GPUs, gloo between CPUs.

    Raises:
        UsageError: The environment makes no sense.
        MachineError: NCCL without GPUs, fewer GPUs than processes, or a rendezvous that timed out.
    """
    group = group_from(os.environ)
    if group.size == 1:
        yield group
        return
    _rendezvous(group, _backend(group, device, backend))
    try:
        yield group
    except ConnectionLost:
        raise  # each that notices says so
    except CharRNNError as error:
        if group.is_main:
            raise
        raise SystemExit(error.exit_code) from None  # all come to the same error, and one says so


def _backend(group: ProcessGroup, device: str, backend: str) -> str:
    """Return what torch.distributed calls it: CPU tensors always go through gloo."""
    import torch

    from charrnn.runtime.device import choose_device

    on_gpu = choose_device(device).type == "cuda"
    if backend == "nccl" and not on_gpu:
        hint = "On CPUs, use `backend` gloo or leave it out."
        raise MachineError("`backend` nccl needs a GPU for each rank.", hint)
    if on_gpu:
        gpus = torch.cuda.device_count()
        if group.local_rank >= gpus:
            raise MachineError(
                f"{group.local_size} ranks were started on a machine with {gpus} GPUs.",
                "Start as many as there are GPUs: torchrun --nproc-per-node.",
            )
        torch.cuda.set_device(group.local_rank)
    return "cpu:gloo,cuda:nccl" if on_gpu and backend != "gloo" else "gloo"


def _rendezvous(group: ProcessGroup, backend: str) -> None:
    from torch import distributed

    if not distributed.is_available():
        message = "This installation of torch cannot train in several processes."
        raise MachineError(message, "Install another build of it.")
    seconds = _rendezvous_timeout()
    try:
        store = _common_store(group, timedelta(seconds=seconds))
        distributed.init_process_group(
            backend,
            store=store,
            rank=group.rank,
            world_size=group.size,
            timeout=timedelta(seconds=SILENCE_TIMEOUT),
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise MachineError(
            f"Rank {group.rank}: the rendezvous of {group.size} ranks at {place} timed out after "
            f"{seconds:g} s.",
            "Check that all were started, and that this address can be reached from each machine; "
            "CHARRNN_RANKS_TIMEOUT sets the seconds.",
        ) from error


def _common_store(group: ProcessGroup, limit: timedelta) -> Any:
    """Return a store that all processes have been seen in."""
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    store, _, _ = next(
        distributed.rendezvous("env://", group.rank, group.size, timeout=limit)  # type: ignore[attr-defined]
    )
    # torchrun keeps its store when it starts again, and with it the addresses of those that are gone
    store = PrefixStore(f"attempt {group.restarts} of {group.size}", store)
    store.set(f"here/{group.rank}", "")
    store.wait([f"here/{rank}" for rank in range(group.size)], limit)
    return store


def _rendezvous_timeout() -> float:
    given = os.environ.get("CHARRNN_RANKS_TIMEOUT", str(RENDEZVOUS_TIMEOUT))
    with suppress(ValueError):
        if 0 < float(given) < 1e6:
            return float(given)
    raise UsageError(f"CHARRNN_RANKS_TIMEOUT must be a number of seconds, not {given!r}.")
