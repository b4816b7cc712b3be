"""The simple recurrent network (Elman 1990).

h' = phi(W x + U h + b)      phi is tanh, sigmoid or relu (as in Le et al. 2015, but orthogonal U)
"""

from typing import Any

from charrnn.model.cells import Arrays


def step(gates: Arrays, state: Arrays, xp: Any) -> Arrays:
    """Return (h',)."""
    return gates
