"""How far back gradients reach: the gradient of a loss with respect to earlier states.

    dL_t / dS_{t-k} = dL_t / dS_{t-1} * J_{t-1} * ... * J_{t-k+1}

L_t is the loss at time t, S everything that the model carries from one time step to the next, and
J_s the Jacobian of one time step. If the product of Jacobians shrinks, the gradient vanishes, and
training cannot learn what to remember; if it grows, the gradient explodes (Bengio et al. 1994;
Pascanu et al. 2013).

The gradient is measured at several places in a text, side by side. At each, some symbols are read
first without gradients. Then come `lags` + 1 symbols, and the loss of the last is differentiated:

    in a stream     . . . . r r r r x x x x x x L . .         r: only read, x: looked back to
    in a record           > r r x x x x x x L . .             >: the start symbol, before the record

In a text of records, nothing before the record is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.data.mapped import take
from charrnn.errors import TextError, UsageError, counted
from charrnn.evaluation.retention import Retention, RetentionWatch, retention_of
from charrnn.evaluation.score import Positions
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN
from charrnn.tokenizers.base import Ids

VANISHED, EXPLODED = 0.01, 10.0  # times the norm at lag 1
MAX_LAGS = 10_000
MAX_ROWS = 16  # places that are measured side by side, which bounds the memory


@dataclass(frozen=True)
class GradientFlow:
    """How far back a model's gradients reach.

    Attributes:
        norms: Norm of dL_t / dS_{t-k} for k = 1, 2, ..., averaged over places in the text.
        singular_values: The largest singular value of each gate's recurrent matrix, by
            "layer.gate".
        gates: How much of its state each layer keeps; None for a layer without such a gate.
    """

    norms: tuple[float, ...]
    singular_values: dict[str, float]
    gates: tuple[Retention | None, ...]

    @property
    def vanishes_at(self) -> int | None:
        """The lag from which all norms are below a hundredth of the one at lag 1, if any."""
        threshold = VANISHED * self.norms[0]
        above = [lag for lag, norm in enumerate(self.norms, 1) if norm >= threshold > 0]
        last = max(above, default=0)
        return last + 1 if last < len(self.norms) else None

    @property
    def explodes_at(self) -> int | None:
        """The first lag at which the norm exceeds ten times the one at lag 1, if any."""
        threshold = EXPLODED * self.norms[0]
        return next((lag for lag, norm in enumerate(self.norms, 1) if norm > threshold), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as JSON values."""
        return {
            "norms": list(self.norms),
            "vanishes_at": self.vanishes_at,
            "explodes_at": self.explodes_at,
            "singular_values": self.singular_values,
            "gates": [gate and gate.to_dict() for gate in self.gates],
        }


def measure_gradient_flow(
    model: CharRNN, ids: Ids, starts: Positions | None = None, *, lags: int = 200, places: int = 64
) -> GradientFlow:
    """Measure how far back a model's gradients reach on a text.

    Args:
        model: The model, in any number format; dropout is off.
        ids: The text.
        starts: If the text consists of records, where each begins in `ids`, ascending from 0.
        lags: Time steps to look back, 1 to 10,000.
        places: Number of predictions to look back from, spread evenly over those that have enough
            symbols before them in the text or in their record.

    Raises:
        UsageError: `lags` is out of range.
        TextError: The text is shorter than `lags` + 1 symbols, or every record is shorter than
            `lags` symbols.
    """
    if not 1 <= lags <= MAX_LAGS:
        raise UsageError(f"`lags` must be at least 1 and at most {MAX_LAGS}, not {lags}.")
    _check_long_enough(len(ids), starts, lags)
    was_training = model.training
    model.eval()
    try:
        # cuDNN has no backward pass in evaluation mode; torch's own kernels have.
        with torch.backends.cudnn.flags(enabled=False):
            norms, kept = zip(*_by_group(model, ids, starts, lags, places), strict=True)
    finally:
        model.train(was_training)
    mean_norms = tuple(np.concatenate(norms).mean(axis=0).tolist())
    return GradientFlow(
        mean_norms,
        singular_values(model),
        retention_of(np.concatenate(kept), model.config.num_layers),
    )


def _check_long_enough(length: int, starts: Positions | None, lags: int) -> None:
    if starts is not None:
        longest = int(np.diff(starts, append=length).max())
        if longest < lags:
            raise TextError(
                f"The longest record has {counted(longest, 'symbol')}; looking back "
                f"{counted(lags, 'step')} in one takes {lags:,}.",
                f"Give `lags` {longest} or fewer.",
            )
    elif length < lags + 1:
        raise TextError(
            f"The text has {counted(length, 'symbol')}; looking back {counted(lags, 'step')} takes "
            f"at least {lags + 1:,}.",
            "Give a longer text, or fewer `lags`.",
        )


@dataclass(frozen=True)
class Windows:
    """Where to look back, as arrays (places,); see the picture at the top of this file.

    Attributes:
        begin: Position of the first symbol of each window. If that is the start symbol, the
            position is the one before its record.
        only_read: How many symbols are only read, before those that are looked back to.
        with_start: Whether the first symbol is the start symbol.
    """

    begin: Positions
    only_read: Positions
    with_start: npt.NDArray[np.bool_]

    def rows(self, chosen: slice) -> "Windows":
        """Return some of the windows."""
        return Windows(self.begin[chosen], self.only_read[chosen], self.with_start[chosen])


def _windows(length: int, starts: Positions | None, lags: int, places: int) -> Windows:
    """Choose at most `places` windows, spread evenly."""
    if starts is None:
        return _stream_windows(length, lags, places)
    return _record_windows(length, starts, lags, places)


def _stream_windows(length: int, lags: int, places: int) -> Windows:
    read = min(lags, (length - lags - 1) // 2)
    begin = np.unique(np.linspace(0, length - read - lags - 1, places).astype(np.int64))
    return Windows(begin, np.full(len(begin), read), np.zeros(len(begin), bool))


def _record_windows(length: int, starts: Positions, lags: int, places: int) -> Windows:
    # A record of n symbols after the start symbol has n - lags + 1 places to look back from.
    room = np.maximum(0, np.diff(starts, append=length) - lags + 1)
    ends = room.cumsum()
    chosen = np.unique(np.linspace(0, ends[-1] - 1, places).astype(np.int64))
    record = np.searchsorted(ends, chosen, side="right")
    before = chosen - (ends - room)[record]  # symbols from the start symbol to the look back
    read = np.minimum(lags, before)
    return Windows(starts[record] - 1 + before - read, read, before == read)


def _by_group(
    model: CharRNN, ids: Ids, starts: Positions | None, lags: int, places: int
) -> Iterator[tuple[Any, Any]]:
    """Yield norms (rows, lags) and retention (rows, layers, hidden_size), group by group."""
    windows = _windows(len(ids), starts, lags, places)
    for first, last in pairwise([*range(0, len(windows.begin), MAX_ROWS), len(windows.begin)]):
        yield _look_back(model, *_read(model, ids, windows.rows(slice(first, last)), lags))


def _read(model: CharRNN, ids: Ids, windows: Windows, lags: int) -> tuple[Tensor, State]:
    """Read the symbols that are only read.

    Returns:
        The symbols after those, (rows, lags + 1), and the state before them.
    """
    reads = windows.only_read
    positions = windows.begin[:, None] + np.arange(reads.max() + lags + 1)
    symbols = take(ids, np.clip(positions, 0, len(ids) - 1))
    symbols[windows.with_start, 0] = model.start
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
    """Differentiate the loss of the last symbol of each row by the states before it.

    Args:
        model: The model.
        rows: Symbols, (rows, lags + 1).
        state: The state before them.

    Returns:
        Norms (rows, lags), from lag 1 on, and retention (rows, layers, hidden_size).
    """
    watch, before = RetentionWatch(model), []
    for time in range(rows.shape[1] - 1):
        state = tuple(one if one.requires_grad else one.detach().requires_grad_() for one in state)
        before.append(state)
        logits, state = model(rows[:, time : time + 1], state)
    watch.close()
    loss = functional.cross_entropy(logits[:, -1], rows[:, -1], reduction="sum")
    flat = [part for states in before for part in states]
    found = torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True)
    squares = torch.stack([part.flatten(1).square().sum(1) for part in found], 1)
    norms = squares.reshape(len(rows), len(before), -1).sum(2).sqrt()
    return norms.flip(1).double().cpu().numpy(), watch.means(len(rows))


def singular_values(model: CharRNN) -> dict[str, float]:
    """Return the largest singular value of each gate's recurrent matrix.

    The names are "layer.gate", with layers counted from 1.
    """
    gates, hidden = CELLS[model.config.cell].gates, model.config.hidden_size
    return {
        f"{number}.{gate}": float(torch.linalg.matrix_norm(block.detach().double(), 2))
        for number, layer in enumerate(model.layers, 1)
        for name, matrix in layer.named_parameters()
        if "weight_hh" in name
        for gate, block in zip(gates, torch.split(matrix, hidden), strict=True)
    }
