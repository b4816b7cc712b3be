"""A text that a person and a model write in turns."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from charrnn.config.sampling import WINDOW, SamplingConfig, check_run
from charrnn.errors import UsageError
from charrnn.sampling.decoding import (
    DecoderState,
    StepModel,
    decode,
    prefill,
    text_start,
    uniform_numbers,
)
from charrnn.sampling.generate import banned_symbols, encode_prompt, max_symbols
from charrnn.sampling.stopping import Detokenizer
from charrnn.sampling.token_healing import ConstrainedModel, Tail, open_tail
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

MAX_TURNS = 1000  # that can be taken back; each keeps one state of the model
PAST = 2 * WINDOW  # symbols that a turn remembers


class Turn(NamedTuple):
    """The text up to the end of a turn.

    Attributes:
        now: Where the model stands in it, before the tail.
        past: Its last symbols, of which no_repeat repeats nothing.
        tail: Its end, if that may be inside of a word: the model spells it again as it goes on.
    """

    now: DecoderState
    past: Ids
    tail: Tail = Tail()


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
        self._turns: deque[Turn] = deque(maxlen=MAX_TURNS)
        self._turn = self._empty = Turn(text_start(model), np.zeros(0, np.int64))
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Draw the random numbers that follow from this seed.

        Raises:
            UsageError: It is negative.
        """
        check_run(seed=seed)
        self._numbers = uniform_numbers(seed, range(1))

    def set(self, **settings: Any) -> None:
        """Change settings.

        Raises:
            UsageError: One is out of range; nothing is changed then.
        """
        self.config = replace(self.config, **settings)

    def say(self, text: str) -> None:
        """Begin a turn with `text`, which may be empty.

        Raises:
            TextError: It has characters that the model does not know.
        """
        ids = encode_prompt(self.tokenizer, text, self.config.unknown)
        now, past, unspelled = self._turn  # unspelled: the model did not go on from what was said
        tail = open_tail(self.tokenizer, ids)
        ids = np.concatenate([np.array(unspelled.ids, np.int64), ids[: tail.begin]])
        now = prefill(self.model, now, ids)
        self._turns.append(self._turn)
        self._turn = Turn(now, np.concatenate([past, ids])[-PAST:], tail)

    def write(self) -> Iterator[str]:
        """Go on writing, in pieces as they become certain.

        Whoever stops reading them keeps what was written till then. A stop string is not shown, but
        the model has read it: what comes next comes after it.
        """
        (last, state), past, tail = self._turn
        text = Detokenizer(self.tokenizer, self.config, tail.characters)
        model = ConstrainedModel(self.model, tail)
        before = DecoderState(last, model.constrained(state, tail.begin))
        steps = len(tail.ids) + max_symbols(self.tokenizer, self.config.length)
        config, banned = replace(self.config, length=steps), banned_symbols(self.tokenizer)
        for step in decode(model, before, config, self._numbers, past=past, banned=banned):
            past = np.append(past[-PAST:], step.ids)
            piece = text.feed(int(step.ids[0]))
            if not text.skip:  # the tail is spelled
                self._turn = Turn(DecoderState(step.ids, step.after.state[:-1]), past)
            yield piece
            if text.stop.reached:
                return
        yield text.flush()

    def undo(self) -> None:
        """Take back the last turn, what was said and what was written.

        Raises:
            UsageError: There is none.
        """
        if not self._turns:
            raise UsageError("There is nothing to take back.")
        self._turn = self._turns.pop()

    def reset(self) -> None:
        """Forget the text and start afresh, which can be taken back too."""
        self._turns.append(self._turn)
        self._turn = self._empty
