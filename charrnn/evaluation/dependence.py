"""How much each prediction in a text depends on the symbols before it.

The dependence of a prediction on an earlier symbol is the norm of the gradient of the prediction's
loss with respect to the network's input where that symbol was read: its embedding, and those of the
n-grams that end with it. Through longer n-grams the symbol is in the next inputs, too. Each of them
adds the norm of its gradient times the share of that input that depends on the symbol: the norm of
the sum of the n-grams that the symbol is in, divided by the norm of the whole input. The n-grams
that end with the newest symbol may also reach the output layer past all others; what they do there
is added likewise.

What followed the last symbols before, which a match copies into an input, is a symbol of the text,
too. To it counts the norm of the gradient with respect to the embedding that was copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.model.cells.layer import State
from charrnn.model.matching import steps_back
from charrnn.model.network import CharRNN
from charrnn.tokenizers.base import Ids

Norms = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
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
        norms, past, copied = np.zeros((3, len(ids), lags), np.float32)
        symbols = torch.from_numpy(ids.astype(np.int64)).to(model.device)
        inputs = torch.cat([symbols.new_tensor([model.start]), symbols[:-1]])
        states, back = _states(model, inputs), _steps_back(model, inputs)
        for rows in _windows(len(ids), lags):
            found, skipped, matched = _window_norms(model, (inputs, symbols), states, rows, lags)
            norms[rows.start : rows.stop, : found.shape[1]] = found
            past[rows.start : rows.stop, 0] = skipped
            _add_copies(copied, matched, back, rows)
        of_inputs, of_ngrams = _shares(model, symbols)
        return _with_ngrams(norms, of_inputs) + _with_ngrams(past, of_ngrams) + copied
    finally:
        model.train(was_training)


@torch.no_grad()
def _shares(model: CharRNN, symbols: Tensor) -> tuple[Norms, Norms]:
    """Return the shares that depend on the symbol k before a symbol, (symbols, k) each.

    Of each symbol's input, and of the sum of its n-grams. All of both depends on the symbol itself,
    k = 0.
    """
    if model.ngrams is None:
        all_of_it = np.ones((len(symbols), 1), np.float32)
        return all_of_it, all_of_it
    ngrams = model.ngrams.separate(symbols)
    sums = ngrams.sum(dim=1)
    longer = ngrams.flip(1).cumsum(dim=1).flip(1)  # the sums of the orders from k + 1 on

    def with_itself(shares: Tensor) -> Norms:
        return _array(functional.pad(shares, (1, 0), value=1.0))

    of_inputs, of_ngrams = (
        longer.norm(dim=2) / whole.norm(dim=1, keepdim=True).clamp_min(1e-30)
        for whole in (model.embedding(symbols) + sums, sums)
    )
    to_input = float(model.config.ngrams_to_input)
    return with_itself(to_input * of_inputs), with_itself(of_ngrams)


def _with_ngrams(norms: Norms, shares: Norms) -> Norms:
    """Add what a symbol does in the inputs after its own."""
    total = norms.copy()
    predictions, lags = np.indices(norms.shape)
    for later in range(1, min(shares.shape[1], norms.shape[1])):
        places = np.maximum(predictions - lags - 1 + later, 0)[:, later:]
        total[:, later:] += norms[:, :-later] * shares[places, later]
    return np.where(lags < predictions, total, 0)


def _steps_back(model: CharRNN, inputs: Tensor) -> Counts:
    """Return how many steps before each input its matches are, (inputs, lengths); 0 for none."""
    if model.matches is None:
        return np.zeros((len(inputs), 0), np.int64)
    codes = (inputs[None] + 1) % (model.start + 1)
    before = functional.pad(codes, (model.config.match_history, 0))
    found: Counts = steps_back(before, model.config)[0].cpu().numpy()
    return found


def _add_copies(total: Norms, norms: Norms, back: Counts, rows: range) -> None:
    """Add the norms of embeddings that matches copied to the symbols that they are of.

    Args:
        total: The norms by prediction and lag, which are added to.
        norms: Those of the matches of some predictions' inputs, (rows, lags, lengths).
        back: What `_steps_back` returned.
        rows: The predictions.
    """
    if not back.size:
        return
    row, lag, length = np.nonzero(norms)
    steps = back[rows.start + row - lag, length]
    place, known = lag + steps - 1, norms[row, lag, length]
    shown = (steps > 0) & (place < total.shape[1])
    np.add.at(total, (rows.start + row[shown], place[shown]), known[shown])


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
) -> tuple[Norms, Norms | float, Norms]:
    """Return the norms for some predictions.

    Of the inputs, (rows, symbols before), the nearest symbol first; of what the last n-grams add to
    the output layer's input, (rows,); and of what matches copy, (rows, symbols before, lengths).
    """
    inputs, targets = text
    before = min(rows.start, lags)  # input i is symbol i - 1
    begins = [row - before + 1 for row in rows]
    windows = torch.stack([inputs[begin : begin + before] for begin in begins])
    state = tuple(map(torch.cat, zip(*(states[begin] for begin in begins), strict=True)))
    with watched(model.embedding) as embeddings, watched(model.matches) as matched:
        values, _ = model.hidden(windows, state)
    loss = model.loss(values[:, -1:], targets[rows.start : rows.stop, None])
    of_outputs, of_inputs, *rest = torch.autograd.grad(loss, [values, *embeddings, *matched])
    norms = _array(of_inputs.norm(dim=2).flip(1))
    copies = np.zeros((*norms.shape, 0), np.float32)
    for of_matches in rest:
        each = of_matches.view(*norms.shape, len(model.config.match_lengths), -1)
        copies = _array(each.norm(dim=3).flip(1))
    if model.ngrams is None or model.ngrams.skip is None:
        return norms, 0.0, copies
    of_ngrams = of_outputs[:, -1] @ model.ngrams.skip.weight.detach()
    return norms, _array(of_ngrams.norm(dim=1)), copies


def _array(values: Tensor) -> Norms:
    found: Norms = values.float().cpu().numpy()
    return found


@contextmanager
def watched(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collect a module's outputs, or the first of each, as tensors to differentiate by."""
    seen: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: object, output: Any) -> Any:
        first, *rest = output if isinstance(output, tuple) else (output,)
        seen.append(first.detach().requires_grad_())
        return (seen[-1], *rest) if rest else seen[-1]

    if module is None:
        yield seen
        return
    handle = module.register_forward_hook(watch)
    try:
        yield seen
    finally:
        handle.remove()
