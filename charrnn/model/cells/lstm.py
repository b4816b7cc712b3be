"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

i = sigmoid(W_i x + U_i h + b_i)        input gate
f = sigmoid(W_f x + U_f h + b_f)        forget gate; starts open (Jozefowicz et al. 2015)
g =    tanh(W_g x + U_g h + b_g)        candidate
o = sigmoid(W_o x + U_o h + b_o)        output gate
c' = f * c + i * g                      the memory
h' = o * tanh(c')                       the output
"""

from typing import Any

from charrnn.model.cells import Arrays


def step(gates: Arrays, state: Arrays, xp: Any) -> Arrays:
    """Return (h', c')."""
    i, f, g, o = gates
    _, c = state
    c = f * c + i * g
    return o * xp.tanh(c), c


def kept(gates: Arrays, xp: Any) -> Any:
    """Return f."""
    return gates[1]
