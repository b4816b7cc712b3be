"""One vocabulary for models that were trained with different ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import UsageError
from charrnn.tokenizers.base import Tokenizer
from charrnn.tokenizers.char import CharTokenizer
from charrnn.tokenizers.word import WordTokenizer

SPELLED = 0.5  # share of a spelling's first symbol that is kept for what only spelling can write


@dataclass(frozen=True)
class SymbolMap:
    """How a model's symbols stand for those of a larger vocabulary, of `size` symbols.

    With p the model's prediction, symbol s of the larger vocabulary gets the probability
    p[outputs[s]] * exp(log_shares[s]). The shares of the symbols that have an output in common add
    up to 1, so these probabilities do too.

    Attributes:
        inputs: The model's symbol that is read for each symbol, and its start symbol for theirs,
            (size + 1,).
        outputs: The model's symbol that predicts each symbol, (size,).
        log_shares: Natural logarithm of the share of that prediction, (size,), at most 0.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    log_shares: NDArray[np.float32]


def union(tokenizers: Sequence[Tokenizer]) -> Tokenizer:
    """Return a tokenizer that knows the symbols of all that are given; the first's come first.

    Raises:
        UsageError: They are of different kinds, or of pieces that differ.
    """
    whole = tokenizers[0]
    for other in tokenizers[1:]:
        if whole == other:
            continue
        if isinstance(whole, CharTokenizer) and isinstance(other, CharTokenizer):
            whole = whole.extended(other.characters)
        elif isinstance(whole, WordTokenizer) and isinstance(other, WordTokenizer):
            whole = whole.extended(other)
        elif whole.kind != other.kind:
            raise UsageError(f"Models of {whole.kind} and {other.kind} share no symbols.")
        else:
            raise UsageError(f"The models' {whole.kind} tokenizers have different pieces.")
    return whole


def symbol_map(model: Tokenizer, whole: Tokenizer) -> SymbolMap | None:
    """Return how a model's symbols stand for those of a union that its tokenizer is part of.

    A symbol that the model knows is predicted by itself. Another one, which is foreign to it, is
    written by the model in its own way, and gets a share of the prediction of how that begins:

    - Characters: the unknown symbol stands for a uniform choice among the N code points that the
      model does not know, as in a score, so each foreign character gets 1 / N of it, and the
      union's unknown symbol, which stands for the other code points, gets the rest. A text thus
      costs a model the same in its own vocabulary and in the union's.
    - Words: a foreign unit or character is spelled. Of the probability of the first symbol of its
      spelling, half is kept by that symbol, for what the union spells too, and half is divided
      equally among the foreign symbols that begin with it. The model reads the last symbol of the
      spelling, since what follows a word depends on its end most.

    Returns:
        The map, or None if the vocabularies are equal.
    """
    if model == whole:
        return None
    if isinstance(model, CharTokenizer) and isinstance(whole, CharTokenizer):
        ids = model.encode(whole.characters).astype(np.int64)
        outputs = np.concatenate([[model.unknown], ids])
        return SymbolMap(_with_start(outputs, model), outputs, _char_shares(outputs, model, whole))
    assert isinstance(model, WordTokenizer)
    assert isinstance(whole, WordTokenizer)
    written = model.symbols_of(whole)
    outputs = np.array([ids[0] for ids in written])
    inputs = np.array([ids[-1] for ids in written])
    return SymbolMap(_with_start(inputs, model), outputs, _word_shares(outputs))


def _with_start(inputs: NDArray[np.int64], model: Tokenizer) -> NDArray[np.int64]:
    return np.append(inputs, model.size)


def _char_shares(
    outputs: NDArray[np.int64], model: CharTokenizer, whole: CharTokenizer
) -> NDArray[np.float32]:
    shares = np.where(outputs == model.unknown, -model.unknown_nats, 0.0)
    shares[whole.unknown] += whole.unknown_nats
    return shares.astype(np.float32)


def _word_shares(outputs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Divide predictions; bytes and characters come before the foreign symbols they begin."""
    owners, first, counts = np.unique(outputs, return_index=True, return_counts=True)
    foreign = np.ones(len(outputs), np.bool_)
    foreign[first] = False
    others = np.zeros(int(owners.max()) + 1)
    others[owners] = counts - 1
    count: NDArray[Any] = others[outputs]
    shares = np.where(foreign, (1 - SPELLED) / np.maximum(count, 1), SPELLED)
    return np.log(np.where(count == 0, 1.0, shares)).astype(np.float32)
