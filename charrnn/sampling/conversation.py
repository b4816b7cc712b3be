"""A text that a person and a model write in turns."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from charrnn.config.sampling import WINDOW, SamplingConfig, check_run
from charrnn.errors import UsageError
from charrnn.sampling.decoding import Place, StepModel, begin, read, uniforms, write
from charrnn.sampling.generate import banned_symbols, encode_prompt, most_symbols
from charrnn.sampling.logits import Ids
from charrnn.sampling.stopping import Speller
from charrnn.sampling.token_healing import FREE, BoundModel, Tail, open_end
from charrnn.tokenizers import Tokenizer

TURNS = 1000  # that can be taken back; each keeps one state of the model


class Page(NamedTuple):
    """The text so far.

    Attributes:
        place: Where the model stands in it, before the tail.
        past: Its last symbols, of which no_repeat repeats nothing.
        tail: Its end, if that may be inside of a word: the model spells it again as it goes on.
    """

    place: Place
    past: Ids
    tail: Tail = Tail((), (), 0, 0)


class Conversation:
    """The model's state after all that was said and written.

    Each turn goes on from it, and can be taken back.

    Attributes:
        config: How the model's next turn is drawn.

    Args:
        model: The model that writes.
        tokenizer: The model's.
        config: How it writes.
        seed: At least 0. The same turns with the same seed give the same text.

    Raises:
        UsageError: `seed` is negative.
    """

    def __init__(
        self, model: StepModel, tokenizer: Tokenizer, config: SamplingConfig, seed: int
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self._pages: deque[Page] = deque(maxlen=TURNS)
        self._page = self._empty = Page(begin(model), np.zeros(0, np.int64))
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Draw the random numbers that follow from this seed.

        Raise `UsageError` if it is negative.
        """
        check_run(seed=seed)
        self._numbers = uniforms(seed, range(1))

    def set(self, **settings: Any) -> None:
        """Change settings; raise `UsageError` if one is out of range, and change nothing then."""
        self.config = replace(self.config, **settings)

    def say(self, text: str) -> None:
        """Begin a turn with `text`, which may be empty.

        Raise `TextError` at characters new to the model.
        """
        ids = encode_prompt(self.tokenizer, text, self.config.unknown)
        place, past, unspelled = (
            self._page
        )  # what was said before, if the model did not go on from it
        tail = open_end(self.tokenizer, ids)
        ids = np.concatenate([np.array(unspelled.ids, np.int64), ids[: tail.begin]])
        place = read(self.model, place, ids)
        self._pages.append(self._page)
        self._page = Page(place, np.concatenate([past, ids])[-2 * WINDOW :], tail)

    def write(self) -> Iterator[str]:
        """Go on writing, in pieces as they become certain.

        Whoever stops reading them keeps what was written till then.

        A stop string is not shown, but the model has read it: what comes next comes after it.
        """
        (last, state), past, tail = self._page
        speller = Speller(self.tokenizer, self.config, tail.characters)
        enough = replace(
            self.config, length=len(tail.ids) + most_symbols(self.tokenizer, self.config.length)
        )
        for step in write(
            BoundModel(self.model, tail),
            Place(last, (*state, np.array([tail.begin if tail.ids else FREE]))),
            enough,
            self._numbers,
            past=past,
            banned=banned_symbols(self.tokenizer),
        ):
            past = np.append(past[-2 * WINDOW :], step.ids)
            piece = speller.feed(int(step.ids[0]))
            if not speller.skip:  # the tail is spelled
                self._page = Page(Place(step.ids, step.place.state[:-1]), past)
            yield piece
            if speller.ending.ended:
                return
        yield speller.flush()

    def undo(self) -> None:
        """Take back the last turn, what was said and what was written.

        Raise `UsageError` if there is none.
        """
        if not self._pages:
            raise UsageError("There is nothing to take back.")
        self._page = self._pages.pop()

    def reset(self) -> None:
        """Forget the text and begin anew, which can be taken back too."""
        self._pages.append(self._page)
        self._page = self._empty
