"""A text that a user and a model write in turns."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from charrnn.config.sampling import WINDOW, SamplingConfig, check_generation
from charrnn.errors import UsageError
from charrnn.sampling.decoding import (
    DecoderState,
    StepModel,
    decode,
    prefill,
    text_start,
    uniform_numbers,
)
from charrnn.sampling.generate import (
    banned_symbols,
    encode_prompt,
    max_symbols,
    memory_rules,
)
from charrnn.sampling.stopping import Detokenizer
from charrnn.sampling.token_healing import Tail, open_tail
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

MAX_TURNS = 1000  # turns that can be taken back; each keeps a state of the model
MAX_PAST = 2 * WINDOW  # symbols that a turn remembers


class Turn(NamedTuple):
    """The text up to the end of a turn.

    Attributes:
        decoder_state: The model's state after the text, without the tail.
        past: The text's last symbols, for `no_repeat`.
        tail: The text's end, if it may be inside a word; the model spells it again as it goes on.
    """

    decoder_state: DecoderState
    past: Ids
    tail: Tail = Tail()


class Conversation:
    """A text in progress; each turn continues it and can be taken back.

    Attributes:
        config: How the model's next turn is drawn.

    Args:
        model: The model that writes.
        tokenizer: The model's tokenizer.
        config: How the model's turns are drawn.
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
        """Restart the random numbers from `seed`.

        Raises:
            UsageError: `seed` is negative.
        """
        check_generation(seed=seed)
        self._numbers = uniform_numbers(seed, range(1))

    def set(self, **settings: Any) -> None:
        """Change settings of `config`.

        Raises:
            UsageError: A setting is out of range; then none is changed.
        """
        self.config = replace(self.config, **settings)

    def say(self, text: str) -> None:
        """Start a turn with `text`, which may be empty.

        Raises:
            TextError: `text` has characters that the model does not know.
        """
        ids = encode_prompt(self.tokenizer, text, self.config.unknown)
        state, past, unread = self._turn  # unread: a tail that the model has not written again
        tail = open_tail(self.tokenizer, ids)
        ids = np.concatenate([np.array(unread.ids, np.int64), ids[: tail.begin]])
        state = prefill(self.model, state, ids)
        self._turns.append(self._turn)
        self._turn = Turn(state, np.concatenate([past, ids])[-MAX_PAST:], tail)

    def write(self) -> Iterator[str]:
        """Let the model continue the text, and yield what it writes in pieces.

        If the caller stops early, the text ends with what was written so far. A stop string is not
        yielded, but it is part of the text that the next turn continues.
        """
        before, past, tail = self._turn
        text = Detokenizer(self.tokenizer, self.config, tail.characters)
        steps = len(tail.ids) + max_symbols(self.tokenizer, self.config.length)
        config, banned = replace(self.config, length=steps), banned_symbols(self.tokenizer)
        rules = memory_rules(tail, config, past, 1)
        for step in decode(self.model, before, config, self._numbers, rules=rules, banned=banned):
            past = np.append(past[-MAX_PAST:], step.ids)
            piece = text.feed(int(step.ids[0]))
            if not text.skip:  # the tail has been spelled
                self._turn = Turn(step.after, past)
            yield piece
            if text.stop.reached:
                return
        yield text.flush()

    def undo(self) -> None:
        """Take back the last turn, both what was said and what was written.

        Raises:
            UsageError: There is no turn to take back.
        """
        if not self._turns:
            raise UsageError("There is nothing to take back.")
        self._turn = self._turns.pop()

    def reset(self) -> None:
        """Start with an empty text; this can be taken back too."""
        self._turns.append(self._turn)
        self._turn = self._empty
