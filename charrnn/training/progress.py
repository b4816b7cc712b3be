"""How far a run has come, in plain numbers."""

import math
from dataclasses import dataclass
from typing import Any

LEGACY_FIELDS = ("loss_scale", "quiet_steps")  # of older files; now in torch's GradScaler


@dataclass
class Progress:
    """How far a run has come.

    This and the states of weights, optimizer, gradient scaler, batcher and random generators are
    all that a resume needs.

    Attributes:
        step: Steps taken.
        tokens: Tokens seen.
        best_nats: Best validation score in nats per token; infinity before the first.
        best_step: The step of the best score.
        evaluated_step: The last step that was evaluated.
        evaluations_since_best: Evaluations since the best score.
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
        """Rebuild from what `to_dict` returned.

        Raises:
            ValueError, TypeError: `values` is something else.
        """
        known = {name: value for name, value in values.items() if name not in LEGACY_FIELDS}
        progress = cls(**known | {"best_nats": _or_infinity(known["best_nats"])})
        kinds = {name: type(value) for name, value in vars(cls()).items()}
        for name, value in vars(progress).items():
            if type(value) is not kinds[name] or not value >= 0:
                raise ValueError(f"{name} {value!r} of a run's progress is not a valid number.")
        return progress


def _or_infinity(value: float | None) -> float | None:
    return math.inf if value is None else value
