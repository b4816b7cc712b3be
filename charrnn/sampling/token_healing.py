"""A prompt may end in the middle of a word or piece, where no text that the model has read was ever cut.

After `Wha` a model of pieces would go on badly: it has read `What` as one symbol, so what follows
the symbols ` W` and `ha` is never a `t`. So the prompt's last symbols are drawn again, and the
first ones drawn have to spell them: each is either the symbol that stood there, or one that begins
with all that is left of the prompt, and may go on beyond it. The model's own probabilities decide
between these. What is spelled again is not part of the new text.

This is done by a model that stands before the real one, so that sampling need not know of it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.sampling.decoding import StepModel
from charrnn.tokenizers import Tokenizer

Ids = npt.NDArray[np.integer[Any]]
State = tuple[Any, ...]
FREE = -1  # the place of a stream that nothing binds any more


@dataclass(frozen=True)
class Tail:
    """The end of a prompt, to be drawn again.

    Attributes:
        ids: Its symbols.
        longer: For each of them, the symbols that begin with all the text from it on.
        characters: Length of its text.
        begin: Symbols of the prompt before it.
    """

    ids: tuple[int, ...]
    longer: tuple[frozenset[int], ...]
    characters: int
    begin: int

    @cached_property
    def allowed(self) -> list[list[int]]:
        """What may be drawn in place of each symbol, while all before it were drawn as they had been."""
        return [sorted({id_, *more}) for id_, more in zip(self.ids, self.longer, strict=True)]


def open_end(tokenizer: Tokenizer, ids: Ids) -> Tail:
    """Return the longest end of a prompt's `ids` for whose text there is another symbol, which goes on beyond it."""
    spellings = [tokenizer.spell(id_) for id_ in range(tokenizer.size)]
    longest = max(map(len, spellings))
    text, longer, begin = b"", list[frozenset[int]](), len(ids)
    for place in range(len(ids) - 1, -1, -1):
        text = spellings[ids[place]] + text
        if len(text) > longest:
            break
        longer.append(
            frozenset(id_ for id_, spelling in enumerate(spellings) if spelling.startswith(text))
        )
        if longer[-1] - {int(ids[place])}:
            begin = place
    tail = tuple(int(id_) for id_ in ids[begin:])
    return Tail(
        tail, tuple(longer[len(tail) - 1 :: -1]) if tail else (), len(tokenizer.decode(tail)), begin
    )


class BoundModel:
    """A model whose streams, once they have read a prompt up to its tail, go on as the tail says.

    Its state is the model's own and, for each stream, how many symbols of the text it has read, or
    `FREE`.
    """

    def __init__(self, model: StepModel, tail: Tail) -> None:
        self.model, self.tail = model, tail

    @property
    def start(self) -> int:
        """The model's start symbol."""
        return self.model.start

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol."""
        return (*self.model.initial_state(batch), np.full(batch, 0 if self.tail.ids else FREE))

    def step(self, ids: Ids, state: State) -> tuple[npt.NDArray[Any], State]:
        """Read one symbol of each stream; what must not follow has the logit -inf."""
        *inner, places = state
        logits, after = self.model.step(ids, tuple(inner))
        if (places == FREE).all():
            return logits, (*after, places)
        logits, after_places = logits.copy(), places.copy()
        for row, place in enumerate(places.tolist()):
            after_places[row] = self._bind(logits[row], place, int(ids[row]))
        return logits, (*after, after_places)

    def _bind(self, logits: npt.NDArray[Any], place: int, last: int) -> int:
        """Remove what must not follow the symbol `last` at `place` of a text.

        Return the next place.
        """
        number = place - self.tail.begin
        if (
            place == FREE
            or number >= len(self.tail.ids)
            or (number > 0 and last != self.tail.ids[number - 1])
        ):
            return FREE
        if number >= 0:
            kept = logits[self.tail.allowed[number]]
            logits[:] = -np.inf
            logits[self.tail.allowed[number]] = kept
        return place + 1
