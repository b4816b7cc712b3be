"""Token healing: continuing a prompt that ends in the middle of a word or piece.

A model of pieces would continue `Wha` badly: it has read `What` as one symbol, so in its training
text the symbols ` W` and `ha` are never followed by `t`. Therefore the prompt's last symbols, its
tail, are drawn again. Each symbol drawn is either the one that was there, or one that begins with
all of the prompt from there on and may be longer:

    prompt        ... | d  o |  W  |  h a |         tail: [" W", "ha"]
    allowed                    " W" or any symbol that begins with " Wha", such as " What"
    after " W"                        "ha" or any symbol that begins with "ha", such as "hat"
    after a longer symbol, or at the tail's end     everything

The model's own probabilities decide between these. The tail is not part of the new text. All this
is done by a wrapper around the model, so that decoding need not know about it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.sampling.decoding import StepModel
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

State = tuple[Any, ...]
FREE = -1  # instead of a count: the stream is no longer constrained


@dataclass(frozen=True)
class Tail:
    """The end of a prompt, to be drawn again.

    Attributes:
        ids: Its symbols.
        longer: For each of these, the symbols that begin with the tail's whole text from there on.
        characters: Length of its text.
        begin: Number of symbols of the prompt before it.
    """

    ids: tuple[int, ...] = ()
    longer: tuple[frozenset[int], ...] = ()
    characters: int = 0
    begin: int = 0

    @cached_property
    def allowed(self) -> list[list[int]]:
        """What may be drawn in place of each symbol, after the same symbols as before."""
        return [sorted({id_, *more}) for id_, more in zip(self.ids, self.longer, strict=True)]


def open_tail(tokenizer: Tokenizer, ids: Ids) -> Tail:
    """Return the longest end of a prompt whose text is the beginning of another symbol."""
    spellings = [tokenizer.spell(id_) for id_ in range(tokenizer.size)]
    longest = max(map(len, spellings))
    text, longer, begin = b"", list[frozenset[int]](), len(ids)
    for place in range(len(ids) - 1, -1, -1):
        text = spellings[ids[place]] + text
        if len(text) > longest:
            break
        matching = (id_ for id_, spelling in enumerate(spellings) if spelling.startswith(text))
        longer.append(frozenset(matching))
        if longer[-1] - {int(ids[place])}:
            begin = place
    tail = tuple(int(id_) for id_ in ids[begin:])
    in_order = tuple(longer[: len(tail)][::-1])
    return Tail(tail, in_order, len(tokenizer.decode(tail)), begin)


class ConstrainedModel:
    """A model whose streams, after a prompt without its tail, continue with the tail's text.

    Its state is the model's own and, for each stream, the number of symbols of the prompt that it
    has read, or `FREE`.
    """

    def __init__(self, model: StepModel, tail: Tail) -> None:
        self.model, self.tail = model, tail

    @property
    def start(self) -> int:
        """The model's start symbol."""
        return self.model.start

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol."""
        return self.constrained(self.model.initial_state(batch), 0, batch)

    def constrained(self, state: State, symbols_read: int, batch: int = 1) -> State:
        """Return the state of streams that have read this many symbols of the prompt."""
        return (*state, np.full(batch, symbols_read if self.tail.ids else FREE))

    def step(self, ids: Ids, state: State) -> tuple[npt.NDArray[Any], State]:
        """Read one symbol of each stream; symbols that must not follow get the logit -inf."""
        *inner, read = state
        logits, after = self.model.step(ids, tuple(inner))
        if (read == FREE).all():
            return logits, (*after, read)
        logits, read_after = logits.copy(), read.copy()
        for row, count in enumerate(read.tolist()):
            read_after[row] = self._count_after(count, int(ids[row]))
            place = count - self.tail.begin  # index in the tail of the symbol to be drawn
            if read_after[row] != FREE and place >= 0:
                _keep_only(logits[row], self.tail.allowed[place])
        return logits, (*after, read_after)

    def _count_after(self, count: int, last: int) -> int:
        """Return `count` after the next step; `last` is the symbol that was drawn before it."""
        place = count - self.tail.begin
        if count == FREE or place >= len(self.tail.ids):
            return FREE
        left_the_tail = place > 0 and last != self.tail.ids[place - 1]
        return FREE if left_the_tail else count + 1


def _keep_only(logits: npt.NDArray[Any], allowed: list[int]) -> None:
    kept = logits[allowed]
    logits[:] = -np.inf
    logits[allowed] = kept
