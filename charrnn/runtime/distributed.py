"""Several processes that train one model together, each with a share of every batch, as `torchrun` starts them.

Every rank runs the same program and comes to the same decisions at the same step. What only one can
do, printing and writing files, the first one does. Whatever may fail on one rank and not on another
is done `together`, so that all of them leave, with one exit code, or none does. A process alone is
a rank whose talk with the others costs nothing: torch.distributed is not even imported.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from charrnn.errors import CharRNNError, MachineError, UsageError

T = TypeVar("T")
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
MEETING_SECONDS = 120  # within which all ranks have to begin; CHARRNN_RANKS_TIMEOUT says otherwise
SILENT_SECONDS = (
    1800  # after which a rank that says nothing is given up; one may have to encode a long text
)


class RanksLost(MachineError):
    """Another rank does not answer: its process or its machine is gone.

    Each rank that notices says so itself.
    """


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together.

    Attributes:
        rank: Its number, 0 .. size - 1.
        size: How many there are.
        local_rank: Its number on its machine.
        local_size: How many there are on its machine.
        restarts: How often torchrun has begun anew after a rank was lost.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, in the order of the ranks."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        with self.talking():
            distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """Return the first rank's value."""
        if self.size == 1:
            return value
        from torch import distributed

        values: list[Any] = [value]
        with self.talking():
            distributed.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[no-any-return]

    def total(self, *values: float) -> list[float]:
        """Return the sums of the values over all ranks, the same on each to the last bit."""
        return self._reduced("SUM", values)

    def most(self, *values: float) -> list[float]:
        """Return for each of the values the greatest that any rank has."""
        return self._reduced("MAX", values)

    def _reduced(self, how: str, values: tuple[float, ...]) -> list[float]:
        if self.size == 1:
            return list(values)
        import torch
        from torch import distributed

        tensor = torch.tensor(values, dtype=torch.float64)
        with self.talking():
            distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))
        return tensor.tolist()

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Say that the others are gone where torch says that a connection is."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or "memory" in str(error):
                raise
            reason = str(error).splitlines()[0].partition(". This is typically")[0]
            raise RanksLost(
                f"Rank {self.rank} of {self.size} has lost the others: {reason}",
                "The same command goes on from the last save; torchrun --max-restarts gives it again by itself.",
            ) from error

    def together(self, work: Callable[[], T]) -> T:
        """Do what may fail on one rank alone.

        If it does, all leave with that exit code, and the first says why.

        Args:
            work: What to do; it must not talk to the other ranks.
        """
        if self.size == 1:
            return work()
        error: CharRNNError | None = None
        try:
            result = work()
        except CharRNNError as failure:
            error = failure
        told = None if error is None else (error.message, error.hint, error.exit_code)
        failures = [
            (rank, failure) for rank, failure in enumerate(self.gather(told)) if failure is not None
        ]
        if not failures:
            return result
        rank, (message, hint, code) = failures[0]
        if not self.first:
            raise SystemExit(code)
        if error is None:
            error = CharRNNError(f"Rank {rank}: {message}", hint)
            error.exit_code = code
        raise error

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do `work` on the first rank, then on the first of each other machine, then on the rest, who find its files.

        It may fail as in `together`.
        """
        mine = 0 if self.first else 1 if self.local_rank == 0 else 2
        done: list[T] = []
        for turn in range(3 if self.size > 1 else 1):
            self.together(lambda turn=turn: done.append(work()) if turn == mine else None)  # type: ignore[misc]
        return done[0]

    def check_same(
        self, facts: Mapping[str, str], hint: str, error: type[CharRNNError] = UsageError
    ) -> None:
        """Raise an error that names what differs and where, unless every rank has the same facts."""
        found = self.gather(dict(facts))
        self.together(lambda: _compare(found, hint, error))


ALONE = Ranks()


def _compare(found: list[dict[str, str]], hint: str, error: type[CharRNNError]) -> None:
    for rank, facts in enumerate(found):
        for name, value in found[0].items():
            if facts[name] != value:
                raise error(f"{name} of rank {rank}: {facts[name]}, of rank 0: {value}.", hint)


def ranks_of(environment: Mapping[str, str]) -> Ranks:
    """Return the place that torchrun gives a process in its environment; without one, it is alone.

    Raises:
        UsageError: What stands there is no place.
    """
    if any(name not in environment for name in (*NUMBERS, *ADDRESS)):
        return ALONE
    numbers = [environment[name] for name in NUMBERS] + [
        environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    ]
    try:
        ranks = Ranks(*map(int, numbers))
    except ValueError:
        ranks = Ranks(-1)
    if (
        not 0 <= ranks.rank < ranks.size
        or not 0 <= ranks.local_rank < ranks.local_size <= ranks.size
    ):
        given = ", ".join(f"{name}={environment[name]}" for name in NUMBERS)
        raise UsageError(
            f"The environment's {given} are no place among ranks.", "Let torchrun set them."
        )
    return ranks


def check_alone(command: str) -> None:
    """Raise `UsageError` if torchrun has started a command that is for one process as one of several."""
    ranks = ranks_of(os.environ)
    if ranks.size > 1:
        if not ranks.first:
            raise SystemExit(UsageError.exit_code)  # the first one tells
        raise UsageError(
            f"charrnn {command} runs in one process, and {ranks.size} were started.",
            "Start it without torchrun.",
        )


@contextmanager
def joined(device: str, backend: str) -> Iterator[Ranks]:
    """Meet the other ranks, if torchrun has started this process as one of several.

    They part when they end.

    Args:
        device: What `choose_device` takes. Each rank of a machine gets a GPU of its own.
        backend: `gloo`, `nccl`, or `auto`: NCCL between GPUs, gloo between processors.

    Raises:
        UsageError: The environment makes no sense.
        MachineError: NCCL without GPUs, fewer GPUs than ranks, or ranks that do not come.
    """
    ranks = ranks_of(os.environ)
    if ranks.size == 1:
        yield ranks
        return
    _meet(ranks, _backend(ranks, device, backend))
    try:
        yield ranks
    except RanksLost:
        raise  # each that notices tells
    except CharRNNError as error:
        if ranks.first:
            raise
        raise SystemExit(
            error.exit_code
        ) from None  # all ranks come to the same error, and the first one tells


def _backend(ranks: Ranks, device: str, backend: str) -> str:
    """Return what torch.distributed calls it: CPU tensors always go through gloo."""
    import torch

    from charrnn.runtime.device import choose_device

    on_gpu = choose_device(device).type == "cuda"
    if backend == "nccl" and not on_gpu:
        raise MachineError(
            "--backend nccl needs a GPU for each rank.",
            "On CPUs, use --backend gloo or leave it out.",
        )
    if on_gpu:
        if ranks.local_rank >= torch.cuda.device_count():
            raise MachineError(
                f"{ranks.local_size} ranks were started on a machine with {torch.cuda.device_count()} GPUs.",
                "Start as many as there are GPUs: torchrun --nproc-per-node.",
            )
        torch.cuda.set_device(ranks.local_rank)
    return "cpu:gloo,cuda:nccl" if on_gpu and backend != "gloo" else "gloo"


def _meet(ranks: Ranks, backend: str) -> None:
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    if not distributed.is_available():
        raise MachineError(
            "This installation of torch cannot train among several ranks.",
            "Install another build of it.",
        )
    seconds = _meeting_seconds()
    limit = timedelta(seconds=seconds)
    try:
        store, _, _ = next(distributed.rendezvous("env://", ranks.rank, ranks.size, timeout=limit))  # type: ignore[attr-defined]
        # torchrun keeps its store when it begins anew, and with it the addresses of those that are
        # gone
        store = PrefixStore(f"attempt {ranks.restarts} of {ranks.size}", store)
        store.set(f"here/{ranks.rank}", "")
        store.wait([f"here/{rank}" for rank in range(ranks.size)], limit)
        silence = timedelta(seconds=SILENT_SECONDS)
        distributed.init_process_group(
            backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=silence
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise MachineError(
            f"Rank {ranks.rank}: the {ranks.size} ranks have not met at {place} within {seconds:g} s.",
            "Check that all were started, and that this address can be reached from each machine; "
            "CHARRNN_RANKS_TIMEOUT sets the seconds.",
        ) from error


def _meeting_seconds() -> float:
    given = os.environ.get("CHARRNN_RANKS_TIMEOUT", str(MEETING_SECONDS))
    with suppress(ValueError):
        if 0 < float(given) < 1e6:
            return float(given)
    raise UsageError(f"CHARRNN_RANKS_TIMEOUT must be a number of seconds, not {given!r}.")
