"""A text that a person and a model write in turns."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import UsageError
from charrnn.sampling.config import WINDOW, SamplingConfig, check_run
from charrnn.sampling.endings import Speller
from charrnn.sampling.rules import Ids
from charrnn.sampling.streams import Place, StepModel, begin, read, uniforms, write
from charrnn.sampling.text import banned_symbols, encode_prompt, most_symbols
from charrnn.tokenizers import Tokenizer

TURNS = 1000  # that can be taken back; each keeps one state of the model


class Page(NamedTuple):
    """The text so far: where the model stands in it, and its last symbols, of which no_repeat repeats nothing."""

    place: Place
    past: Ids


class Conversation:
    """The model's state after all that was said and written; each turn goes on from it, and can be taken back.

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

    def __init__(self, model: StepModel, tokenizer: Tokenizer, config: SamplingConfig, seed: int) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self._pages: deque[Page] = deque(maxlen=TURNS)
        self._page = self._empty = Page(begin(model), np.zeros(0, np.int64))
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Draw the random numbers that follow from this seed; raise `UsageError` if it is negative."""
        check_run(seed=seed)
        self._numbers = uniforms(seed, range(1))

    def set(self, **settings: Any) -> None:
        """Change settings; raise `UsageError` if one is out of range, and change nothing then."""
        self.config = replace(self.config, **settings)

    def say(self, text: str) -> None:
        """Begin a turn with `text`, which may be empty; raise `TextError` at characters new to the model."""
        ids = encode_prompt(self.tokenizer, text, self.config.unknown)
        place = read(self.model, self._page.place, ids)
        self._pages.append(self._page)
        self._page = Page(place, np.concatenate([self._page.past, ids])[-2 * WINDOW :])

    def write(self) -> Iterator[str]:
        """Go on writing, in pieces as they become certain. Whoever stops reading them keeps what was written till then.

        A stop string is not shown, but the model has read it: what comes next comes after it.
        """
        speller = Speller(self.tokenizer, self.config)
        enough = replace(self.config, length=most_symbols(self.tokenizer, self.config.length))
        _, past = self._page
        for step in write(
            self.model,
            self._page.place,
            enough,
            self._numbers,
            past=past,
            banned=banned_symbols(self.tokenizer),
        ):
            past = np.append(past[-2 * WINDOW :], step.ids)
            self._page = Page(step.place, past)
            yield speller.feed(int(step.ids[0]))
            if speller.ending.ended:
                return
        yield speller.flush()

    def undo(self) -> None:
        """Take back the last turn, what was said and what was written; raise `UsageError` if there is none."""
        if not self._pages:
            raise UsageError("There is nothing to take back.")
        self._page = self._pages.pop()

    def reset(self) -> None:
        """Forget the text and begin anew, which can be taken back too."""
        self._pages.append(self._page)
        self._page = self._empty
