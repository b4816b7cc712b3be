"""Several processes that train one model, each on a shard of every batch, started by torchrun.

Every process runs the same program and makes the same decisions at the same step. Only the main
process prints and writes files. Whatever may fail in one process alone is wrapped so that either
all processes exit, with the same exit code, or none does. A process that runs alone is a group of
one, in which communication costs nothing: torch.distributed is not even imported.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from charrnn.errors import CharRNNError, MachineError, UsageError
from charrnn.runtime.machine import is_out_of_memory

T = TypeVar("T")


class ConnectionLost(MachineError):
    """Another rank does not answer: its process or machine is gone.

    Each rank that notices reports it.
    """


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and this one's rank among them.

    Attributes:
        rank: This process's number, 0 .. size - 1.
        size: Number of processes.
        local_rank: This process's number on its machine.
        local_size: Number of processes on its machine.
        restarts: How often torchrun has restarted all of them after one was lost.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of the ranks."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        with self.communication_errors():
            distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Return the main process's value."""
        if self.size == 1:
            return value
        from torch import distributed

        values: list[Any] = [value]
        with self.communication_errors():
            distributed.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[no-any-return]

    def sum(self, *values: float) -> list[float]:
        """Return each value's sum over all processes; the results are identical in all of them."""
        return self._reduced("SUM", values)

    def max(self, *values: float) -> list[float]:
        """Return each value's maximum over all processes."""
        return self._reduced("MAX", values)

    def _reduced(self, how: str, values: tuple[float, ...]) -> list[float]:
        if self.size == 1:
            return list(values)
        import torch
        from torch import distributed

        tensor = torch.tensor(values, dtype=torch.float64)
        with self.communication_errors():
            distributed.all_reduce(tensor, getattr(distributed.ReduceOp, how))
        return tensor.tolist()

    @contextmanager
    def communication_errors(self) -> Iterator[None]:
        """Turn torch's error about a broken connection into `ConnectionLost`."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0].partition(". This is typically")[0]
            raise ConnectionLost(
                f"Rank {self.rank} of {self.size} has lost the connection to the others: {reason}",
                "The same command continues from the last save; torchrun --max-restarts gives it "
                "again by itself.",
            ) from error

    def all_or_none(self, work: Callable[[], T]) -> T:
        """Call `work`, which may fail in one process alone.

        If it does, all processes exit with the error's exit code, and the main process reports it.

        Args:
            work: A function that does not communicate with the other processes.
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
            (rank, one) for rank, one in enumerate(self.all_gather(told)) if one is not None
        ]
        if not failures:
            return result
        rank, (message, hint, code) = failures[0]
        if not self.is_main:
            raise SystemExit(code)
        if error is None:
            error = CharRNNError(f"Rank {rank}: {message}", hint)
            error.exit_code = code
        raise error

    def on_main(self, work: Callable[[], T]) -> T:
        """Call `work` in the main process and return its result in all; see `all_or_none`."""
        done: list[T] = []
        self.all_or_none(lambda: done.append(work()) if self.is_main else None)
        return self.broadcast(done[0] if done else None)  # type: ignore[return-value]

    def main_process_first(self, work: Callable[[], T]) -> T:
        """Call `work` in the main process, then in the first of each other machine, then elsewhere.

        So each process finds the files that earlier ones wrote. Errors: see `all_or_none`.
        """
        own_turn = 0 if self.is_main else 1 if self.local_rank == 0 else 2
        done: list[T] = []

        def take(turn: int) -> None:
            if turn == own_turn:
                done.append(work())

        for turn in range(3 if self.size > 1 else 1):
            self.all_or_none(partial(take, turn))
        return done[0]

    def run_and_compare(
        self, work: Callable[[], T], facts: Callable[[T], Mapping[str, str]], hint: str
    ) -> T:
        """Call `work` in all processes, and check that the `facts` about its results are the same.

        Raises:
            UsageError: They differ; `hint` says what to do.
        """
        found = self.all_or_none(work)
        self.check_same(facts(found), hint)
        return found

    def check_same(
        self, facts: Mapping[str, str], hint: str, error: type[CharRNNError] = UsageError
    ) -> None:
        """Raise `error`, naming the difference, unless `facts` are the same in all processes."""
        found = self.all_gather(dict(facts))
        self.all_or_none(lambda: _compare(found, hint, error))


ALONE = ProcessGroup()


def _compare(found: list[dict[str, str]], hint: str, error: type[CharRNNError]) -> None:
    for rank, facts in enumerate(found):
        for name, value in found[0].items():
            if facts[name] != value:
                raise error(f"{name} of rank {rank}: {facts[name]}, of rank 0: {value}.", hint)
