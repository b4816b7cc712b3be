"""The recurrent cells: one entry each; their equations are in `charrnn.model.cells`, a file each.

Everything that can be said of a cell without running it follows from its entry: the choices of
`cell`, the shapes of its weights and states, and how its biases start. Nothing else lists cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What is known about a cell without running it.

    Attributes:
        gates: Its gates, in the order of their blocks of rows in the weights, and what is applied
            to the sum of a gate's products before it is passed to `step`: "sigmoid", "tanh",
            "activation" (the model's `activation`), "linear" (nothing), or "split" (nothing, and
            `step` gets the products of the input and of the state as a pair).
        num_states: Number of arrays (batch, hidden_size) that it carries from step to step; the
            first is its output.
        recurrent: Whether it multiplies its state by a matrix. A cell that does not can be computed
            for all time steps in parallel.
        forget_bias: The gates whose bias starts at the model's `forget_bias`, each with its sign.
    """

    gates: Mapping[str, str]
    num_states: int = 1
    recurrent: bool = True
    forget_bias: Mapping[str, float] = field(default_factory=dict)


CELLS: dict[str, CellSpec] = {
    "rnn": CellSpec(gates={"h": "activation"}),
    "gru": CellSpec(
        gates={"r": "sigmoid", "z": "sigmoid", "n": "split"},
        forget_bias={"z": 1.0},
    ),
    "lstm": CellSpec(
        gates={"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"},
        num_states=2,
        forget_bias={"f": 1.0},
    ),
    "mingru": CellSpec(
        gates={"z": "sigmoid", "n": "linear"},
        recurrent=False,
        forget_bias={"z": -1.0},  # its gate admits the new state, unlike the gru's
    ),
    "minlstm": CellSpec(
        gates={"f": "linear", "i": "linear", "g": "linear"},
        recurrent=False,
        forget_bias={"f": 1.0, "i": -1.0},  # f / (f + i) starts at sigmoid(forget_bias)
    ),
}
