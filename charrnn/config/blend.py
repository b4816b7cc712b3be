"""How several models become one. See `charrnn.model.blend`."""

import math
from dataclasses import dataclass
from typing import Any

from charrnn.config.fields import Checked, option, shorten
from charrnn.errors import UsageError

BLEND = "Blending"
RULES = ("linear", "geometric")


@dataclass(frozen=True, kw_only=True)
class BlendConfig(Checked):
    """How the predictions of a blend's members are mixed, as the command line takes it."""

    weights: str | None = option(
        None,
        "The weights of a blend's members: 0.7,0.3 for A+B, which may also be named A:0.7+B:0.3",
        group=BLEND,
        metavar="LIST",
        default_note="equal",
    )
    blend: str | None = option(
        None,
        "Mean of a blend's probabilities (linear), or of its log probabilities (geometric)",
        choices=RULES,
        group=BLEND,
        default_note="linear",
    )

    @property
    def given(self) -> dict[str, Any]:
        """What is given, as keywords: `weights` as numbers, and `blend`.

        Raises:
            UsageError: A weight is not a number above 0.
        """
        weights = () if self.weights is None else tuple(map(weight_of, self.weights.split(",")))
        return {"weights": weights, "blend": self.blend}


def weight_of(given: str | float) -> float:
    """Return a weight, a number above 0.

    Raises:
        UsageError: What is given is no such number.
    """
    try:
        weight = float(given)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 < weight < math.inf:
        message = f"`weights` must be numbers greater than 0, not {shorten(given)}."
        raise UsageError(message, "Write 0.7,0.3 for two members; leave out who has no weight.")
    return weight
