"""How a process finds the others of its group: by the environment that torchrun sets."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from charrnn.errors import CharRNNError, MachineError, UsageError, counted
from charrnn.runtime.distributed import ALONE, ConnectionLost, ProcessGroup
from charrnn.runtime.machine import is_out_of_memory

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
RENDEZVOUS_TIMEOUT = 120  # seconds for all processes to start; CHARRNN_RANKS_TIMEOUT overrides it
SILENCE_TIMEOUT = 1800  # seconds until a silent process counts as lost; it may be encoding a text


def group_from(environment: Mapping[str, str]) -> ProcessGroup:
    """Return the process group that torchrun describes in the environment; else a group of one.

    Raises:
        UsageError: The variables are set, but their values contradict each other.
    """
    if any(name not in environment for name in (*RANK_VARIABLES, *ADDRESS_VARIABLES)):
        return ALONE
    restarts = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        values = [*(environment[name] for name in RANK_VARIABLES), restarts]
        numbers = [int(value) for value in values]
        group = ProcessGroup(*numbers)
    except ValueError:
        group = ProcessGroup(-1)
    sizes_fit = 0 <= group.local_rank < group.local_size <= group.size
    if not (0 <= group.rank < group.size and sizes_fit):
        given = ", ".join(f"{name}={environment[name]}" for name in RANK_VARIABLES)
        message = f"The environment's {given} do not describe a group of processes."
        raise UsageError(message, "Let torchrun set them.")
    return group


def check_single_process(command: str) -> None:
    """Raise `UsageError` if torchrun started several processes of a command that runs in one."""
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
    """Connect to the other processes, if torchrun started this one as one of several.

    The connection lasts until the process ends.

    Args:
        device: As for `choose_device`. Each process of a machine uses a GPU of its own, or with
            gloo, which can do without, shares one.
        backend: `gloo`, `nccl`, or `auto`: NCCL between GPUs, gloo between CPUs.

    Raises:
        UsageError: The environment's variables contradict each other.
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
        raise  # each process that notices reports it
    except CharRNNError as error:
        if group.is_main:
            raise
        raise SystemExit(error.exit_code) from None  # all get the same error, and one reports it


def _backend(group: ProcessGroup, device: str, backend: str) -> str:
    """Return the backend as torch.distributed names it: CPU tensors always go through gloo."""
    import torch

    from charrnn.runtime.device import choose_device

    on_gpu = choose_device(device).type == "cuda"
    if backend == "nccl" and not on_gpu:
        hint = "On CPUs, use `backend` gloo or leave it out."
        raise MachineError("`backend` nccl needs a GPU for each rank.", hint)
    if on_gpu:
        gpus = torch.cuda.device_count()
        if group.local_size > gpus and backend != "gloo":
            many = counted(gpus, "GPU")
            raise MachineError(
                f"{group.local_size} ranks were started on a machine with {many}.",
                "Start as many as there are GPUs (torchrun --nproc-per-node), or let them share "
                "GPUs with `backend` gloo, which is slower.",
            )
        torch.cuda.set_device(group.local_rank % gpus)
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
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise _not_met(group, seconds, error) from error


def _not_met(group: ProcessGroup, seconds: float, error: Exception) -> MachineError:
    """Return the error for a rendezvous that failed, with torch's reason unless it timed out."""
    what = f"Rank {group.rank}: the rendezvous of {group.size} ranks at {_address()}"
    reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
    if "timed out" in str(error).lower() or "timeout" in str(error).lower():
        return MachineError(
            f"{what} timed out after {seconds:g} s.",
            "Check that all were started, and that this address can be reached from each machine; "
            "CHARRNN_RANKS_TIMEOUT sets the seconds.",
        )
    return MachineError(
        f"{what} failed: {reason[0].rstrip('.')}.",
        "Let torchrun set MASTER_ADDR and MASTER_PORT, or unset RANK to train in one process.",
    )


def _address() -> str:
    return ":".join(os.environ[name] for name in ADDRESS_VARIABLES)


def _common_store(group: ProcessGroup, limit: timedelta) -> Any:
    """Return the group's key-value store, once all processes have connected to it."""
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    rendezvous: Any = distributed.rendezvous  # type: ignore[attr-defined]
    store, _, _ = next(rendezvous("env://", group.rank, group.size, timeout=limit))
    # torchrun keeps its store when it restarts, with the addresses of processes that are gone
    store = PrefixStore(f"attempt {group.restarts} of {group.size}", store)
    store.set(f"here/{group.rank}", "")
    store.wait([f"here/{rank}" for rank in range(group.size)], limit)
    return store


def _rendezvous_timeout() -> float:
    given = os.environ.get("CHARRNN_RANKS_TIMEOUT", str(RENDEZVOUS_TIMEOUT))
    with suppress(ValueError):
        if 0 < float(given) < 1e6:
            return float(given)
    raise UsageError(
        "CHARRNN_RANKS_TIMEOUT must be a number of seconds greater than 0 and less than 1,000,000, "
        f"not {given!r}."
    )
