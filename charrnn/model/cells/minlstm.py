"""minLSTM (Feng et al. 2024): an LSTM whose gates depend on the input alone and sum to 1.

f = sigmoid(W_f x + b_f)              forget gate
i = sigmoid(W_i x + b_i)              input gate
g =         W_g x + b_g               candidate
h' = (f * h + i * g) / (f + i)
"""

from typing import Any

from charrnn.model.cells import Arrays, sigmoid


def step(gates: Arrays, state: Arrays, xp: Any) -> Arrays:
    """Return (h',)."""
    f, i, g = gates
    (h,) = state
    return (h + sigmoid(log_odds(f, i, xp), xp) * (g - h),)


def kept(gates: Arrays, xp: Any) -> Any:
    """Return f / (f + i)."""
    f, i, _ = gates
    return sigmoid(-log_odds(f, i, xp), xp)


def log_odds(f: Any, i: Any, xp: Any) -> Any:
    """Return log sigmoid(i) - log sigmoid(f), whose sigmoid is i / (f + i).

    Args:
        f: The forget gate before its sigmoid.
        i: The input gate before its sigmoid.
        xp: The module of the arrays.

    Returns:
        A finite value, even if both gates are 0 in floating point.
    """
    zero = xp.zeros_like(f)
    return xp.logaddexp(zero, -f) - xp.logaddexp(zero, -i)
