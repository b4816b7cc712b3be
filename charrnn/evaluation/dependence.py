"""How much each prediction in a text depends on the symbols before it.

The dependence of a prediction on an earlier symbol is the norm of the gradient of the prediction's
loss with respect to that symbol's embedding, where it was read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN
from charrnn.tokenizers.base import Ids

Norms = npt.NDArray[np.float32]
ROWS = 64  # predictions that are differentiated side by side


def input_gradients(model: CharRNN, ids: Ids, lags: int) -> Norms:
    """Return the norms of the gradients of each prediction's loss, (symbols, lags).

    Entry (t, k) is about the prediction of symbol t and symbol t - k - 1; it is 0 where there is no
    such symbol.

    Args:
        model: The model, on any device, in any mode; dropout is off.
        ids: The text, from its beginning, (symbols,).
        lags: How many symbols to look back.
    """
    was_training = model.training
    model.eval()
    try:
        norms = np.zeros((len(ids), lags), np.float32)
        symbols = torch.from_numpy(ids.astype(np.int64)).to(model.device)
        inputs = torch.cat([symbols.new_tensor([model.start]), symbols[:-1]])
        states = _states(model, inputs)
        for rows in _windows(len(ids), lags):
            found = _window_norms(model, (inputs, symbols), states, rows, lags)
            norms[rows.start : rows.stop, : found.shape[1]] = found
        return norms
    finally:
        model.train(was_training)


@torch.no_grad()
def _states(model: CharRNN, inputs: Tensor) -> list[State]:
    """Return the state before each input."""
    states = [model.initial_state(1)]
    for one in inputs[:-1]:
        states.append(model.hidden(one.view(1, 1), states[-1])[1])
    return states


def _windows(length: int, lags: int) -> Iterator[range]:
    """Yield predictions that have equally many symbols before them, as far as it matters."""
    yield from (range(place, place + 1) for place in range(1, min(lags, length)))
    for begin in range(lags, length, ROWS):
        yield range(begin, min(begin + ROWS, length))


def _window_norms(
    model: CharRNN, text: tuple[Tensor, Tensor], states: list[State], rows: range, lags: int
) -> Norms:
    """Return the norms for some predictions, (rows, symbols before), the nearest symbol first."""
    inputs, targets = text
    before = min(rows.start, lags)  # input i is symbol i - 1
    begins = [row - before + 1 for row in rows]
    windows = torch.stack([inputs[begin : begin + before] for begin in begins])
    state = tuple(map(torch.cat, zip(*(states[begin] for begin in begins), strict=True)))
    with watched(model.embedding) as embeddings:
        values, _ = model.hidden(windows, state)
    loss = model.loss(values[:, -1:], targets[rows.start : rows.stop, None])
    (gradient,) = torch.autograd.grad(loss, embeddings)
    norms: Norms = gradient.norm(dim=2).flip(1).float().cpu().numpy()
    return norms


@contextmanager
def watched(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect a module's outputs, as tensors to differentiate by."""
    seen: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    handle = module.register_forward_hook(watch)
    try:
        yield seen
    finally:
        handle.remove()
