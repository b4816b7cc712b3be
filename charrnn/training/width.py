"""How wide a model should be for what it will see of a text, at the speed of this machine."""

from collections.abc import Callable
from dataclasses import replace

from charrnn.config.model import ModelConfig
from charrnn.model.shapes import parameter_count

WIDTHS = (96, 128, 192, 256, 384, 512)
FIRST = WIDTHS.index(256)  # of those that are tried
# A wider model learns more from each character, but sees fewer in the same time. It is worth its
# width from about so many characters per parameter on, counting every epoch's; see
# tests/benchmarks/RESULTS.md.
CHARACTERS_PER_PARAMETER = 3.0


def choose_width(model: ModelConfig, visible: Callable[[ModelConfig], float]) -> ModelConfig:
    """Return a model's shape with the largest width that is worth it.

    Args:
        model: The shape, except for the width.
        visible: Returns the characters that a model of some shape sees in the whole run. It
            measures the speed, and so is called for few widths: for neighbours of the chosen one.
    """

    def is_worth_it(number: int) -> bool:
        shape = replace(model, hidden_size=WIDTHS[number])
        return visible(shape) >= CHARACTERS_PER_PARAMETER * parameter_count(shape)

    number = FIRST
    if is_worth_it(number):
        while number + 1 < len(WIDTHS) and is_worth_it(number + 1):
            number += 1
    else:
        number -= 1
        while number > 0 and not is_worth_it(number):
            number -= 1
    return replace(model, hidden_size=WIDTHS[number])
