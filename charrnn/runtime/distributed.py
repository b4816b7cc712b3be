"""Several processes that train one model, each with a shard of every batch, as torchrun starts them.

Every process runs the same program and comes to the same decisions at the same step. What only one
can do, printing and writing files, the main process does. Whatever may fail in one process and not in
another is done such that all of them leave, with one exit code, or none does. A process alone is a
group of one whose communication costs nothing: torch.distributed is not even imported.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from charrnn.errors import CharRNNError, MachineError, UsageError

T = TypeVar("T")


class ConnectionLost(MachineError):
    """Another rank does not answer: its process or its machine is gone.

    Each rank that notices says so itself.
    """


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and this one's place among them.

    Attributes:
        rank: This process's number, 0 .. size - 1.
        size: How many there are.
        local_rank: Its number on its machine.
        local_size: How many there are on its machine.
        restarts: How often torchrun has started all of them again after one was lost.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of their ranks."""
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
        """Return the sums of the values over all processes, the same on each to the last bit."""
        return self._reduced("SUM", values)

    def max(self, *values: float) -> list[float]:
        """Return for each of the values the greatest that any process has."""
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
            if self.size == 1 or "memory" in str(error):
                raise
            reason = str(error).splitlines()[0].partition(". This is typically")[0]
            raise ConnectionLost(
                f"Rank {self.rank} of {self.size} has lost the connection to the others: {reason}",
                "The same command continues from the last save; torchrun --max-restarts gives it "
                "again by itself.",
            ) from error

    def all_or_none(self, work: Callable[[], T]) -> T:
        """Do what may fail in one process alone.

        If it does, all leave with that exit code, and the main process says why.

        Args:
            work: What to do; it must not communicate with the other processes.
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
        """Let the main process do `work`, and return its result everywhere.

        It may fail as in `all_or_none`.
        """
        done: list[T] = []
        self.all_or_none(lambda: done.append(work()) if self.is_main else None)
        return self.broadcast(done[0] if done else None)  # type: ignore[return-value]

    def main_process_first(self, work: Callable[[], T]) -> T:
        """Do `work` in the main process, then in the first one of each other machine, then in all.

        So the later ones find the files of the earlier ones. It may fail as in `all_or_none`.
        """
        mine = 0 if self.is_main else 1 if self.local_rank == 0 else 2
        done: list[T] = []
        for turn in range(3 if self.size > 1 else 1):
            self.all_or_none(lambda turn=turn: done.append(work()) if turn == mine else None)  # type: ignore[misc]
        return done[0]

    def agree(self, work: Callable[[], T], facts: Callable[[T], Mapping[str, str]], hint: str) -> T:
        """Do `work` in all processes or in none, and check that what `facts` tells is the same."""
        found = self.all_or_none(work)
        self.check_same(facts(found), hint)
        return found

    def check_same(
        self, facts: Mapping[str, str], hint: str, error: type[CharRNNError] = UsageError
    ) -> None:
        """Raise `error`, which names what differs and where, unless all have the same facts."""
        found = self.all_gather(dict(facts))
        self.all_or_none(lambda: _compare(found, hint, error))


ALONE = ProcessGroup()


def _compare(found: list[dict[str, str]], hint: str, error: type[CharRNNError]) -> None:
    for rank, facts in enumerate(found):
        for name, value in found[0].items():
            if facts[name] != value:
                raise error(f"{name} of rank {rank}: {facts[name]}, of rank 0: {value}.", hint)
