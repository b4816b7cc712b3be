"""A prompt may end in the middle of a word or piece, where no text that the model has read was cut.

After `Wha` a model of pieces would go on badly: it has read `What` as one symbol, so what follows the
symbols ` W` and `ha` is never a `t`. So the prompt's last symbols, its tail, are drawn again, and the
first ones drawn have to spell them: each is either the symbol that stood there, or one that begins
with all that is left of the prompt, and may go on beyond it:

    prompt        ... | d  o |  W  |  h a |         tail: [" W", "ha"]
    allowed                    " W" or any symbol that begins with " Wha", such as " What"
    after " W"                        "ha" or any symbol that begins with "ha", such as "hat"
    after a longer symbol, or at the tail's end     everything

The model's own probabilities decide between these. What is spelled again is not part of the new text.
This is done by a model that stands before the real one, so that decoding need not know of it.
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
FREE = -1  # instead of a count: nothing constrains the stream any more


@dataclass(frozen=True)
class Tail:
    """The end of a prompt, to be drawn again.

    Attributes:
        ids: Its symbols.
        longer: For each of them, the symbols that begin with all the text from it on.
        characters: Length of its text.
        begin: Symbols of the prompt before it.
    """

    ids: tuple[int, ...] = ()
    longer: tuple[frozenset[int], ...] = ()
    characters: int = 0
    begin: int = 0

    @cached_property
    def allowed(self) -> list[list[int]]:
        """What may be drawn in place of each symbol, if those before it were drawn again."""
        return [sorted({id_, *more}) for id_, more in zip(self.ids, self.longer, strict=True)]


def open_tail(tokenizer: Tokenizer, ids: Ids) -> Tail:
    """Return the longest end of a prompt for whose text there is a symbol that goes beyond it."""
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
    """A model whose streams, once they have read a prompt up to its tail, go on as the tail says.

    Its state is the model's own and, for each stream, how many symbols of the prompt it has read, or
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
        return self.constrained(self.model.initial_state(batch), 0, batch)

    def constrained(self, state: State, symbols_read: int, batch: int = 1) -> State:
        """Return the state of streams that have read so many symbols of the prompt."""
        return (*state, np.full(batch, symbols_read if self.tail.ids else FREE))

    def step(self, ids: Ids, state: State) -> tuple[npt.NDArray[Any], State]:
        """Read one symbol of each stream; what must not follow has the logit -inf."""
        *inner, read = state
        logits, after = self.model.step(ids, tuple(inner))
        if (read == FREE).all():
            return logits, (*after, read)
        logits, read_after = logits.copy(), read.copy()
        for row, count in enumerate(read.tolist()):
            read_after[row] = self._count_after(count, int(ids[row]))
            place = count - self.tail.begin  # in the tail, of the symbol to be drawn
            if read_after[row] != FREE and place >= 0:
                _keep_only(logits[row], self.tail.allowed[place])
        return logits, (*after, read_after)

    def _count_after(self, count: int, last: int) -> int:
        """Return how many symbols of the prompt are read after `last`, which was at `count` - 1."""
        place = count - self.tail.begin
        if count == FREE or place >= len(self.tail.ids):
            return FREE
        left_the_tail = place > 0 and last != self.tail.ids[place - 1]
        return FREE if left_the_tail else count + 1


def _keep_only(logits: npt.NDArray[Any], allowed: list[int]) -> None:
    kept = logits[allowed]
    logits[:] = -np.inf
    logits[allowed] = kept
