"""The recurrent cells: one entry each, and beside it a file of equations in `charrnn.model.cells`.

Everything that is asked of a cell without running it is here: the choices of `cell`, the shapes of
its weights, its memory, how its biases start, what it is trained with. Nothing else lists cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What is known of a cell without running it.

    Attributes:
        gates: Its gates in the order in which their blocks of rows stand in its weights, and what
            is applied to the sum of a gate's products before the cell's `step` sees it: "sigmoid",
            "tanh", "activation" (the `activation` of the model), "linear" (nothing), or "split"
            (nothing, and `step` gets the input's and the state's product side by side).
        num_states: Arrays (batch, hidden_size) that it carries from step to step; the first is its
            output.
        recurrent: It multiplies its state with a matrix. A cell without one can be computed for all
            time steps in parallel, and knows of the past only what its gates let stay.
        forget_bias: The gates whose bias starts at the model's `forget_bias`, and with which sign.
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
        forget_bias={"z": -1.0},  # its gate lets the new in, where the others keep the old
    ),
    "minlstm": CellSpec(
        gates={"f": "linear", "i": "linear", "g": "linear"},
        recurrent=False,
        forget_bias={"f": 1.0, "i": -1.0},  # f / (f + i) is then the sigmoid of one of them
    ),
}
