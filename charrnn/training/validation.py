"""Score the validation text during training; a signal ends that within one call of the model."""

from collections.abc import Callable
from contextlib import closing
from itertools import takewhile

from charrnn.data.encoding import Encoded
from charrnn.evaluation.score import Score, ScoringProtocol, break_down
from charrnn.evaluation.scoring import Autocast, summed, token_nats
from charrnn.evaluation.warm_up import settled
from charrnn.model.network import CharRNN
from charrnn.runtime.distributed import ProcessGroup
from charrnn.tokenizers import Tokenizer

ShouldStop = Callable[[], int | None]  # returns the number of the signal that asks to stop, if any


def score_unless_stopped(
    model: CharRNN,
    tokenizer: Tokenizer,
    text: Encoded,
    autocast: Autocast,
    group: ProcessGroup,
    should_stop: ShouldStop,
) -> Score | None:
    """Return the score of a validation text, or None if that was given up.

    Args:
        model: The model. Its mode and all random generators are as before, given up or not.
        tokenizer: The tokenizer that made the ids.
        text: The text.
        autocast: Returns the context for the number format.
        group: The processes that share the work. All get the same result.
        should_stop: Called after each call of the model. A process that is told to stop waits for
            the others, which usually got the same signal.
    """
    protocol = settled(model, text, ScoringProtocol.of(text), group)
    losses = token_nats(model, text, protocol, autocast=autocast, group=group)
    with closing(losses):  # puts the model back into training mode
        wanted = takewhile(lambda _: not should_stop(), losses)
        score = break_down(wanted, tokenizer, text).score
    score = summed(score, group)
    (stopped,) = group.max(should_stop() or 0)
    return None if stopped else score


def remembered(should_stop: ShouldStop) -> ShouldStop:
    """Return a function that goes on returning the first signal that `should_stop` returned."""
    first: int | None = None

    def ask() -> int | None:
        nonlocal first
        first = first or should_stop()
        return first

    return ask
