"""Settings of dynamic evaluation, in which a model keeps learning while it is scored."""

from dataclasses import dataclass

from charrnn.config.fields import Checked, option

DYNAMIC = "Dynamic evaluation"


@dataclass(frozen=True, kw_only=True)
class DynamicConfig(Checked):
    """How a model keeps learning while it is scored; see `charrnn.evaluation.dynamic`."""

    dynamic_lr: float = option(
        3e-4, "Learning rate of dynamic evaluation", above=0, high=1, group=DYNAMIC
    )
    dynamic_decay: float = option(
        1e-3, "Strength of the pull back to the trained weights", low=0, high=1, group=DYNAMIC
    )
    dynamic_segment: int = option(
        32, "Tokens scored between two optimizer steps", low=1, high=1 << 16, group=DYNAMIC
    )

    def __str__(self) -> str:
        """Return the protocol's name in a score's signature."""
        segment, lr, decay = self.dynamic_segment, self.dynamic_lr, self.dynamic_decay
        return f"state:dynamic-{segment}-lr-{lr:g}-decay-{decay:g}"
