"""How far back learning reaches.

The gradient of a prediction with respect to states that lie further and further back.

dL_t / dS_{t-k} = dL_t / dS_{t-1} * J_{t-1} * ... * J_{t-k+1}

where L_t is the loss at time t, S everything that the model carries from one step to the next, and
J_s the Jacobian of one step. Where the product of Jacobians shrinks, the gradient vanishes, and
training cannot find out what to remember; where it grows, the gradient explodes (Bengio et al.
1994; Pascanu et al. 2013).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.data.id_cache import take
from charrnn.errors import TextError, UsageError
from charrnn.model.cells import State
from charrnn.model.network import CharRNN

Ids = npt.NDArray[np.integer[Any]]
Places = npt.NDArray[np.int64]

VANISHED, EXPLODED = 0.01, 10.0  # times the norm at lag 1
GATES = {
    "rnn": "h",
    "gru": "rzn",
    "lstm": "ifgo",
    "mingru": "zn",
    "minlstm": "fig",
}  # in the order of their blocks
MOST_LAGS = 10_000
ROWS = 16  # places of the text that are looked at side by side: what bounds the memory


@dataclass(frozen=True)
class Gate:
    """How much of its old state a layer keeps at each step.

    Attributes:
        mean: Mean over steps and units, 0 .. 1: of the lstm's and minLSTM's forget gate, and of
            what the update gate of the gru and the minGRU leaves.
        slowest: Mean over steps of the unit that keeps most.
    """

    mean: float
    slowest: float

    def to_dict(self) -> dict[str, float | None]:
        """Return both with the time constants that they imply, in steps."""
        constants = {
            "time_constant": time_constant(self.mean),
            "slowest_time_constant": time_constant(self.slowest),
        }
        return vars(self) | constants


def time_constant(keep: float) -> float | None:
    """Return the steps after which a state that keeps this share of itself at each has fallen to 1/e; None if never."""
    return -1 / math.log(keep) if 0 < keep < 1 else None


@dataclass(frozen=True)
class Reach:
    """How far back a model's gradients reach.

    Attributes:
        norms: Norm of dL_t / dS_{t-k} for k = 1, 2, ...: the mean over places of the text.
        singular_values: The largest singular value of each gate's recurrent matrix, by
            "layer.gate".
        gates: For each layer, how much it keeps; None where the cell has no such gate.
    """

    norms: tuple[float, ...]
    singular_values: dict[str, float]
    gates: tuple[Gate | None, ...]

    @property
    def vanishes_at(self) -> int | None:
        """The lag from which on all norms are below a hundredth of that at lag 1."""
        loud = [
            lag for lag, norm in enumerate(self.norms, 1) if norm >= VANISHED * self.norms[0] > 0
        ]
        last = max(loud, default=0)
        return last + 1 if last < len(self.norms) else None

    @property
    def explodes_at(self) -> int | None:
        """The first lag at which the norm is above ten times that at lag 1."""
        return next(
            (lag for lag, norm in enumerate(self.norms, 1) if norm > EXPLODED * self.norms[0]), None
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "norms": list(self.norms),
            "vanishes_at": self.vanishes_at,
            "explodes_at": self.explodes_at,
            "singular_values": self.singular_values,
            "gates": [gate and gate.to_dict() for gate in self.gates],
        }


def measure_reach(
    model: CharRNN, ids: Ids, starts: Places | None = None, *, lags: int = 200, places: int = 64
) -> Reach:
    """Measure how far back a model's gradients reach on a text.

    No look back leaves its record: a record is read from the start symbol on, and what stands
    before it is not read.

    Args:
        model: In any number format; dropout is off.
        ids: The text. Its first symbols, as many as there are lags or a half, are only read.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0.
        lags: Steps to look back, 1 .. 10,000.
        places: Predictions to look back from, spread evenly over the text or over those that stand
            far enough inside of a record.

    Raises:
        UsageError: `lags` is out of range.
        TextError: The text is shorter than `lags` + 1 symbols, or every record is shorter than
            `lags`.
    """
    if not 1 <= lags <= MOST_LAGS:
        raise UsageError(f"--lags must be at least 1 and at most {MOST_LAGS}, not {lags}.")
    _check_long_enough(len(ids), starts, lags)
    was_training = model.training
    model.eval()
    try:
        norms, keeps = zip(*_by_group(model, ids, starts, lags, places), strict=True)
    finally:
        model.train(was_training)
    return Reach(
        tuple(np.concatenate(norms).mean(axis=0).tolist()),
        singular_values(model),
        _gates(model, np.concatenate(keeps)),
    )


def _check_long_enough(length: int, starts: Places | None, lags: int) -> None:
    if starts is not None:
        longest = int(np.diff(starts, append=length).max())
        if longest < lags:
            raise TextError(
                f"The longest record has {longest:,} symbols; looking back {lags} steps inside of it takes {lags:,}.",
                f"Give --lags {longest} or fewer.",
            )
    elif length < lags + 1:
        raise TextError(
            f"The text has {length:,} symbols; looking back {lags} steps takes at least {lags + 1:,}.",
            "Give a longer text, or fewer --lags.",
        )


def _by_group(
    model: CharRNN, ids: Ids, starts: Places | None, lags: int, places: int
) -> Iterator[tuple[Any, Any]]:
    """Yield the norms (rows, lags) and what is kept (rows, layers, hidden_size) for some rows at a time."""
    reads, begins, fresh = _places(len(ids), starts, lags, places)
    for first, last in pairwise([*range(0, len(begins), ROWS), len(begins)]):
        rows = slice(first, last)
        yield _look_back(model, *_read(model, ids, reads[rows], begins[rows], fresh[rows], lags))


def _places(
    length: int, starts: Places | None, lags: int, places: int
) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
    """Return where to look back.

    Symbols that are only read, the place of the first, and whether a record begins there.

    A record begins one place before its first symbol, with the start symbol. All are (places,), or
    fewer.
    """
    if starts is None:
        read = min(lags, (length - lags - 1) // 2)
        begins = np.unique(np.linspace(0, length - read - lags - 1, places).astype(np.int64))
        return np.full(len(begins), read), begins, np.zeros(len(begins), bool)
    rooms = np.maximum(
        0, np.diff(starts, append=length) - lags + 1
    )  # places in each record, the last one at its end
    ends = rooms.cumsum()
    chosen = np.unique(np.linspace(0, ends[-1] - 1, places).astype(np.int64))
    record = np.searchsorted(ends, chosen, side="right")
    inside = (
        chosen - (ends - rooms)[record]
    )  # symbols of the record before the steps that are looked back
    reads = np.minimum(lags, inside)
    return reads, starts[record] - 1 + inside - reads, inside == reads


def _read(
    model: CharRNN, ids: Ids, reads: Places, begins: Places, fresh: npt.NDArray[np.bool_], lags: int
) -> tuple[Tensor, State]:
    """Read what is only read.

    Return the symbols after that, (rows, lags + 1), and the state before them.
    """
    symbols = take(
        ids, np.clip(begins[:, None] + np.arange(reads.max() + lags + 1), 0, len(ids) - 1)
    )
    symbols[fresh, 0] = model.start
    rows, state = torch.from_numpy(symbols).to(model.device), model.initial_state(len(symbols))
    for read in np.unique(reads[reads > 0]).tolist():
        chosen = torch.from_numpy(reads == read)
        with torch.no_grad():
            _, after = model(rows[chosen, :read])
        for whole, part in zip(state, after, strict=True):
            whole[chosen] = part
    columns = torch.from_numpy(reads[:, None] + np.arange(lags + 1)).to(model.device)
    return rows.gather(1, columns), state


def _look_back(model: CharRNN, rows: Tensor, state: State) -> tuple[Any, Any]:
    """Differentiate the loss of the last symbol of (rows, lags + 1) by the state before each symbol but the last."""
    watch, before = GateWatch(model), []
    for time in range(rows.shape[1] - 1):
        state = tuple(
            part if part.requires_grad else part.detach().requires_grad_() for part in state
        )
        before.append(state)
        logits, state = model(rows[:, time : time + 1], state)
    watch.close()
    loss = functional.cross_entropy(logits[:, -1], rows[:, -1], reduction="sum")
    flat = [part for states in before for part in states]
    found = torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True)
    squares = torch.stack([part.flatten(1).square().sum(1) for part in found], 1)
    norms = squares.reshape(len(rows), len(before), -1).sum(2).sqrt()
    return norms.flip(1).double().cpu().numpy(), watch.means(len(rows))


class GateWatch:
    """Sums up, while a model runs, how much of its state each of its layers keeps."""

    def __init__(self, model: CharRNN) -> None:
        self.kind, self.steps = model.config.cell, 0
        self.sums: list[Any] = [0.0] * len(model.layers)
        cells = [layer.get_submodule("cell") for layer in model.layers]
        self.hooks = [
            cell.register_forward_pre_hook(self._hook(index)) for index, cell in enumerate(cells)
        ]

    def close(self) -> None:
        """Stop watching."""
        for hook in self.hooks:
            hook.remove()

    def means(self, rows: int) -> npt.NDArray[np.float64]:
        """Return what was kept on average over the steps, (rows, layers, hidden_size).

        No layers if nothing is.
        """
        if KEEPS[self.kind] is None:
            return np.zeros((rows, 0, 0))
        return np.stack([total / self.steps for total in self.sums], axis=1)

    def _hook(self, index: int) -> Any:
        @torch.no_grad()
        def watch(cell: nn.Module, arguments: tuple[Tensor, tuple[Tensor, ...]]) -> None:
            inputs, state = arguments
            kept = keeps(self.kind, cell, inputs[:, 0], state[0])
            self.steps += index == 0
            if kept is not None:
                self.sums[index] = self.sums[index] + kept.double().cpu().numpy()

        return watch


# Which gate says how much a step keeps, and whether it is what it leaves that is kept.
KEEPS: dict[str, tuple[str, bool] | None] = {
    "rnn": None,
    "gru": ("z", False),
    "lstm": ("f", False),
    "mingru": ("z", True),
    "minlstm": ("f", False),
}


def keeps(kind: str, cell: nn.Module, inputs: Tensor, hidden: Tensor) -> Tensor | None:
    """Return the share of its state that each unit keeps in a step, (batch, hidden_size), or None if no gate says so.

    Args:
        kind: Name of the cell.
        cell: The cell.
        inputs: The step's, (batch, input_size).
        hidden: The cell's output at the step before, (batch, hidden_size).
    """
    choice = KEEPS[kind]
    if choice is None:
        return None
    sums: Tensor | float = 0.0
    for name, parameter in cell.named_parameters():
        value = hidden if "weight_hh" in name else inputs
        sums = sums + (functional.linear(value, parameter) if parameter.dim() == 2 else parameter)
    assert isinstance(sums, Tensor)
    gates = dict(zip(GATES[kind], sums.chunk(len(GATES[kind]), dim=-1), strict=True))
    if kind == "minlstm":  # its gates share out 1 between them
        return torch.sigmoid(functional.softplus(-gates["i"]) - functional.softplus(-gates["f"]))
    gate, left = choice
    return torch.sigmoid(-gates[gate] if left else gates[gate])


def _gates(model: CharRNN, kept: npt.NDArray[np.float64]) -> tuple[Gate | None, ...]:
    """Sum up what was kept, (rows, layers, hidden_size)."""
    if not kept.size:
        return (None,) * model.config.num_layers
    return tuple(Gate(float(units.mean()), float(units.max())) for units in kept.mean(axis=0))


def singular_values(model: CharRNN) -> dict[str, float]:
    """Return the largest singular value of each gate's recurrent matrix, by "layer.gate".

    Layers count from 1.
    """
    return {
        f"{number}.{gate}": float(torch.linalg.matrix_norm(block.detach().double(), 2))
        for number, layer in enumerate(model.layers, 1)
        for name, matrix in layer.get_submodule("cell").named_parameters()
        if "weight_hh" in name
        for gate, block in zip(
            GATES[model.config.cell], torch.split(matrix, model.config.hidden_size), strict=True
        )
    }
