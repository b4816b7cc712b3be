"""Where a run is, in plain numbers."""

import math
from dataclasses import dataclass
from typing import Any

LEGACY = ("loss_scale", "quiet_steps")  # which torch's GradScaler keeps now


@dataclass
class Progress:
    """Where a run is.

    With the weights, the optimizer, the scaler, the batcher and the generators, it is all that a
    resume needs.

    Attributes:
        step: Steps taken.
        tokens: Tokens seen.
        best_nats: Best validation score in nats per token; infinity before the first.
        best_step: The step that it is of.
        evaluated_step: The last step that was evaluated.
        evaluations_since_best: Evaluations without a better score.
    """

    step: int = 0
    tokens: int = 0
    best_nats: float = math.inf
    best_step: int = 0
    evaluated_step: int = 0
    evaluations_since_best: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; infinity is None."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Progress":
        """Go back to what `to_dict` returned.

        Raises:
            ValueError, TypeError: It is something else.
        """
        known = {name: value for name, value in values.items() if name not in LEGACY}
        progress = cls(**known | {"best_nats": _or_infinity(known["best_nats"])})
        kinds = {name: type(value) for name, value in vars(cls()).items()}
        for name, value in vars(progress).items():
            if type(value) is not kinds[name] or not value >= 0:
                raise ValueError("A run's progress is told by numbers that are not negative.")
        return progress


def _or_infinity(value: float | None) -> float | None:
    return math.inf if value is None else value
