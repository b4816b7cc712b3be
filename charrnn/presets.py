"""Settings that suit a text, a budget and a machine, for everything that a person did not say.

A preset is a budget of time. What fits into it depends on the machine, so the settings come in two steps: the shape of
the model is chosen from the budget, and once the speed is known, so is the number of passes over the text, from which
the regularisation follows: the more often a text is seen, the more dropout it takes not to learn it by heart.
`tests/benchmarks/RESULTS.md` has the measurements behind the numbers.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from charrnn.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A named budget.

    Attributes:
        meaning: One line for a person.
        seconds: Time for the whole command on a machine without a GPU.
        hidden_size: Width of the model for a text that is long enough.
        max_epochs: Passes over the text after which more of them gain nothing.
    """

    meaning: str
    seconds: float
    hidden_size: int
    max_epochs: float


PRESETS = {
    "quick": Preset("a model in about a minute", 60, 256, 20),
    "standard": Preset("a good model in about five minutes (the default)", 300, 256, 30),
    "best": Preset("the best model that half an hour gives", 1620, 512, 50),
}


# What this module and the measured speed settle, if a person does not.
SETTLED = ("hidden_size", "batch_size", "dropout", "weight_decay", "steps", "eval_every")


def find_preset(name: str) -> Preset:
    """Return the preset of that name, or raise `UsageError` with the names there are."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise UsageError(f"--preset must be one of {known}, not {name!r}.", did_you_mean(name, PRESETS))
    return PRESETS[name]


def shape_settings(preset: Preset, characters: int) -> dict[str, Any]:
    """Return the settings that follow from the budget and the training text's length in characters."""
    batch_size = 32 if characters >= 32 * 512 else max(1, characters // 512)
    return {"hidden_size": preset.hidden_size if characters >= 300_000 else 256, "batch_size": batch_size}


# (passes over the text, dropout): linear in between, constant beyond.
DROPOUT = ((3.0, 0.0), (6.0, 0.15), (12.0, 0.3), (20.0, 0.45), (30.0, 0.5))


def regularisation(epochs: float) -> dict[str, Any]:
    """Return dropout and weight decay for a number of passes over the training text."""
    return {"dropout": round(interpolate(DROPOUT, epochs), 3), "weight_decay": 0.1 if epochs > 3 else 0.0}


def interpolate(points: tuple[tuple[float, float], ...], x: float) -> float:
    """Return the height at `x` of the line through `points`, held constant beyond its ends."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
