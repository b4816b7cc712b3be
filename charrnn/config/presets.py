"""Settings that suit a text, a budget and a machine, for everything that a person did not say.

A preset is a budget of time. What fits into it depends on the machine, so the settings come in two
steps: the shape of the model is chosen from the budget, and once the speed is known, so is the
number of passes over the text, from which the dropout follows: the more often a text is seen, the
more dropout it takes not to learn it by heart. `tests/benchmarks/RESULTS.md` says what they reach.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from charrnn.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named budget.

    Attributes:
        meaning: One line for a person.
        seconds: Time for the whole command.
        hidden_size: Width of the model, if the text is long enough.
        batch_size: Sequences per batch, if the text is long enough.
    """

    meaning: str
    seconds: float
    hidden_size: int
    batch_size: int


PRESETS = {
    "quick": Preset(meaning="a minute or so", seconds=74, hidden_size=256, batch_size=32),
    "standard": Preset(meaning="five minutes at most", seconds=330, hidden_size=256, batch_size=32),
    "best": Preset(meaning="half an hour at most", seconds=1560, hidden_size=384, batch_size=32),
}

# What this module and the measured speed settle, if a person does not.
SETTLED = ("adaptive", "hidden_size", "batch_size", "dropout", "steps", "eval_every")
CELL_SETTLED = ("num_layers", "residual", "forget_bias")


def find_preset(name: str) -> Preset:
    """Return the preset of that name, or raise `UsageError` with the names there are."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise UsageError(
            f"--preset must be one of {known}, not {name!r}.", did_you_mean(name, PRESETS)
        )
    return PRESETS[name]


LONG_TEXT = 300_000  # characters from which a preset's own width pays


def most_epochs(characters: int, cell: str = "lstm") -> int:
    """Return the passes over a text after which more of them gain nothing, or lose."""
    if cell in STACKED:
        return 5  # without dropout
    return 11 if characters >= LONG_TEXT else 20


def shape_settings(preset: Preset, characters: int) -> dict[str, Any]:
    """Return the settings that follow from the budget and the training text's length in characters."""
    if characters >= LONG_TEXT:
        return {"hidden_size": preset.hidden_size, "batch_size": preset.batch_size}
    # A short text is cut into fewer streams, so that each is long enough to carry context through.
    return {
        "hidden_size": min(256, preset.hidden_size),
        "batch_size": max(1, min(32, characters // 512)),
    }


def cell_settings(cell: str) -> dict[str, Any]:
    """Return the settings that suit a cell.

    A layer without a matrix of the state knows of the past only what its gates let stay, and what
    the layers below it know: such layers are cheap, want to be stacked, and need a way around them.
    Gates that start half open suited them better than gates that start by keeping, and dropout cost
    them far more than it gave.
    """
    return (
        {"num_layers": 4, "residual": True, "forget_bias": 0.0, "dropout": 0.0}
        if cell in STACKED
        else {}
    )


STACKED = ("mingru", "minlstm")


# (passes over the text, dropout): linear in between, constant beyond.
DROPOUT = ((3.0, 0.0), (6.0, 0.15), (12.0, 0.3), (20.0, 0.45), (30.0, 0.5))


def suitable_dropout(epochs: float, parameters: int = 1, characters: int = 1) -> float:
    """Return the dropout that suits a number of passes over the training text.

    Args:
        epochs: Passes.
        parameters: Size of the model. The more there are for each character, the more easily it
            learns by heart.
        characters: Length of the text.
    """
    usual = interpolate(DROPOUT, epochs)
    dropout = usual + 0.06 * math.log2(parameters / characters)
    return round(min(max(0.0, dropout), 2 * usual, MOST_DROPOUT), 3)


MOST_DROPOUT = 0.55


def interpolate(points: tuple[tuple[float, float], ...], x: float) -> float:
    """Return the height at `x` of the line through `points`, held constant beyond its ends."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
