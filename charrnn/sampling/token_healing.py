"""Token healing: continuing a prompt that ends in the middle of a word or piece.

A model of pieces would continue `Wha` badly: it has read `What` as one symbol, so in its training
text the symbols ` W` and `ha` are never followed by `t`. Therefore the prompt's last symbols, its
tail, are drawn again. Each symbol drawn is either the one that was there, or one that begins with
all of the prompt from there on and may be longer:

    prompt        ... | d  o |  W  |  h a |         tail: [" W", "ha"]
    allowed                    " W" or any symbol that begins with " Wha", such as " What"
    after " W"                        "ha" or any symbol that begins with "ha", such as "hat"
    after a longer symbol, or at the tail's end     everything

The model's own probabilities decide between these. The tail is not part of the new text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.sampling.logits import Logits
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

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

    def spelled_again(self, tokenizer: Tokenizer, ids: Sequence[int]) -> int:
        """Return how many of the symbols that were drawn, `ids`, only spell the tail again."""
        left = sum(len(tokenizer.spell(id_)) for id_ in self.ids)
        for count, id_ in enumerate(ids):
            if left <= 0 or left < len(tokenizer.spell(id_)):
                return count
            left -= len(tokenizer.spell(id_))
        return len(ids)

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


class Healing:
    """The rule that streams after a prompt without its tail continue with the tail's text.

    Attributes:
        places: How many symbols of the tail each stream has spelled again, or `FREE`, (num,).

    Args:
        tail: The end of the prompt.
        num: Number of streams.
    """

    def __init__(self, tail: Tail, num: int) -> None:
        self.tail = tail
        self.places = np.full(num, 0 if tail.ids else FREE)

    def forbid(self, logits: Logits) -> Logits:
        """Remove the symbols that do not spell the tail; see `Rule.forbid`."""
        if (self.places == FREE).all():
            return logits
        kept = logits.copy()
        for row, place in enumerate(self.places.tolist()):
            if place != FREE:
                _keep_only(kept[row], self.tail.allowed[place])
        return kept

    def append(self, ids: Ids) -> None:
        """Take the symbols that were drawn, (num,)."""
        for row, place in enumerate(self.places.tolist()):
            if place != FREE:
                goes_on = ids[row] == self.tail.ids[place] and place + 1 < len(self.tail.ids)
                self.places[row] = place + 1 if goes_on else FREE


def _keep_only(logits: Logits, allowed: list[int]) -> None:
    kept = logits[allowed]
    logits[:] = -np.inf
    logits[allowed] = kept
