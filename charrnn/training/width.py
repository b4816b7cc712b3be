"""How wide a model should be for what it will see of a text, at the speed of this machine."""

from collections.abc import Callable
from dataclasses import replace

from charrnn.config.model import ModelConfig
from charrnn.config.presets import LONG_TEXT, MEMBERS_PAY, max_epochs
from charrnn.model.shapes import parameter_count
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import Throughput
from charrnn.training.time_budget import UNLIMITED

WIDTHS = (96, 128, 192, 256, 384, 512)
FIRST = WIDTHS.index(256)  # of those that are tried
# A wider model learns more from each character, but sees fewer in the same time. It is worth its
# width from about so many characters per parameter on, counting every epoch's. New characters teach
# more than those that come again, so that in the first pass more of them are better than width: the
# second number, divided by 1 + epochs, counts if it is more. See tests/benchmarks/RESULTS.md.
CHARACTERS_PER_PARAMETER, IN_THE_FIRST_PASS = 2.5, 15.0
# (seconds, width): less time than that has none to measure several widths, and suits this one.
SHORT_BUDGETS = ((10.0, 96), (25.0, 128))
FOR_ONE = 0.85  # of the time in which one model leaves enough for members: the speed may go down


def choose_width(
    model: ModelConfig, length: int, visible: Callable[[ModelConfig], float]
) -> ModelConfig:
    """Return a model's shape with the largest width that is worth it.

    Args:
        model: The shape, except for the width.
        length: Length of the training text; see `text_length`.
        visible: Returns the characters that a model of some shape sees in the whole run. It
            measures the speed, and so is called for few widths: for neighbours of the chosen one.
    """

    def is_worth_it(number: int) -> bool:
        shape = replace(model, hidden_size=WIDTHS[number])
        return is_worth_its_width(shape, visible(shape), length)

    number = FIRST
    if is_worth_it(number):
        while number + 1 < len(WIDTHS) and is_worth_it(number + 1):
            number += 1
    else:
        number -= 1
        while number > 0 and not is_worth_it(number):
            number -= 1
    return replace(model, hidden_size=WIDTHS[number])


def with_fitting_width(
    request: TrainRequest,
    model: ModelConfig,
    length: int,
    epoch: float,
    seconds: float,
    measure: Callable[[ModelConfig], Throughput],
) -> ModelConfig:
    """Return the model's shape with a width that suits the characters that it will see.

    A width that was given stays, and so does one that is due to a short text. Members are worth
    more than a width that leaves no time for them.

    Args:
        request: What was requested, with a time budget.
        model: The shape.
        length: Length of the training text; see `text_length`.
        epoch: Fraction of an epoch that a step is.
        seconds: What is left of the time budget.
        measure: Returns the throughput of a shape, which it measures once.
    """
    if "hidden_size" in request.settings or model.tied or length < LONG_TEXT:
        return model
    for less, width in SHORT_BUDGETS:
        if seconds < less:
            return replace(model, hidden_size=width)
    most = max_epochs(length, model.cell)  # more do not help a wider model

    def epochs_within_budget(shape: ModelConfig) -> float:
        return measure(shape).steps_within(seconds, UNLIMITED) * epoch

    def visible(shape: ModelConfig) -> float:
        epochs = epochs_within_budget(shape)
        return length * (min(epochs, most) if shape.hidden_size > model.hidden_size else epochs)

    for width in reversed(WIDTHS[FIRST:] if request.may_have_members else ()):
        shape = replace(model, hidden_size=width)
        if not is_worth_its_width(shape, most * length, length):
            continue  # without measuring it
        if FOR_ONE / MEMBERS_PAY * epochs_within_budget(shape) >= most:
            return shape
    return choose_width(model, length, visible)


def is_worth_its_width(shape: ModelConfig, characters: float, length: int) -> bool:
    """Return whether a model that sees so many characters should be of this width.

    Args:
        shape: The shape.
        characters: What it sees in the whole run, in any number of epochs.
        length: Length of the training text.
    """
    early = IN_THE_FIRST_PASS / (1 + characters / length)
    return characters >= max(CHARACTERS_PER_PARAMETER, early) * parameter_count(shape)
