"""Gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent product.

r = sigmoid(W_r x + b_r + U_r h + d_r)          reset gate
z = sigmoid(W_z x + b_z + U_z h + d_z)          update gate: fraction of the old state kept
n =    tanh(W_n x + b_n + r * (U_n h + d_n))    candidate
h' = (1 - z) * n + z * h
"""

from typing import Any

from charrnn.model.cells import Arrays


def step(gates: Arrays, state: Arrays, xp: Any) -> Arrays:
    """Return (h',)."""
    r, z, (input_n, recurrent_n) = gates
    (h,) = state
    n = xp.tanh(input_n + r * recurrent_n)
    return (n + z * (h - n),)


def kept(gates: Arrays, xp: Any) -> Any:
    """Return z."""
    return gates[1]
