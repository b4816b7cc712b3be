"""minGRU (Feng et al. 2024): a gated unit whose gate and candidate depend on the input alone.

z = sigmoid(W_z x + b_z)        update gate: fraction of the candidate admitted
n =         W_n x + b_n         candidate
h' = (1 - z) * h + z * n
"""

from typing import Any

from charrnn.model.cells import Arrays


def step(gates: Arrays, state: Arrays, xp: Any) -> Arrays:
    """Return (h',)."""
    z, n = gates
    (h,) = state
    return (h + z * (n - h),)


def kept(gates: Arrays, xp: Any) -> Any:
    """Return 1 - z."""
    return 1 - gates[0]
