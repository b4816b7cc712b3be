"""How large the batches of a run with a time budget should be, at the speed of this machine."""

from collections.abc import Callable

from charrnn.config.presets import LONG_TEXT
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded
from charrnn.training.plan import text_length
from charrnn.training.request import TrainRequest
from charrnn.training.width import SHORT_BUDGETS

MOST = 128  # rows
LEAST_SECONDS, _ = SHORT_BUDGETS[-1]  # less has none to measure batches either
FEWEST_STEPS = 300  # that must be left
# Larger batches see more of the text in the same time, but take fewer steps. In the first pass over
# a text, half the steps with twice the batch do as well, so that it need not be faster. What comes
# again teaches less: it has to be faster, by this much for each epoch (see RESULTS.md).
AS_FAST, FASTER_PER_EPOCH = 0.9, 0.14  # a little slower may be the noise of the measurement


def may_choose_batch_size(
    request: TrainRequest, config: TrainConfig, text: Encoded, seconds: float
) -> bool:
    """Return whether the batch size of a new model may be other than usual.

    Args:
        request: What was requested.
        config: The settings of the run, with the usual batch size.
        text: The training text. That of records is a number of them, and short texts have few rows.
        seconds: What is left of the time budget.
    """
    if "batch_size" in request.settings or config.optimizer != "muon" or text.starts is not None:
        return False
    return text_length(text) >= LONG_TEXT and seconds >= LEAST_SECONDS


def choose_batch_size(usual: int, length_of_run: Callable[[int], tuple[int, float]]) -> int:
    """Return the largest batch size that is worth it, up to `MOST`.

    Args:
        usual: The usual batch size, which is doubled as long as that pays.
        length_of_run: Returns the steps that there is time for with a batch size, and the epochs
            that they are. It measures the speed, and so is called for few sizes.
    """
    size, (_, epochs) = usual, length_of_run(usual)
    while 2 * size <= MOST:
        steps, more = length_of_run(2 * size)
        if steps < FEWEST_STEPS or more < epochs * (AS_FAST + FASTER_PER_EPOCH * more):
            break
        size, epochs = 2 * size, more
    return size
