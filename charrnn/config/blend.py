"""How several models become one. See `charrnn.model.blend`."""

import math
from dataclasses import dataclass

from charrnn.config.fields import Checked, option
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
    def numbers(self) -> tuple[float, ...]:
        """The weights as numbers; empty if there are none.

        Raises:
            UsageError: One is not a number above 0.
        """
        return () if self.weights is None else tuple(map(weight_of, self.weights.split(",")))


def weight_of(text: str) -> float:
    """Return a weight, a number above 0.

    Raises:
        UsageError: The text is no such number.
    """
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        message = f"`weights` must be numbers greater than 0, not {text[:40]!r}."
        raise UsageError(message, "Write 0.7,0.3 for two members; leave out who has no weight.")
    return weight
