"""The weights of a cell, by name and shape; see `charrnn.model.shapes`."""

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig

Shapes = dict[str, tuple[int, ...]]


def cell_shapes(config: ModelConfig, input_size: int) -> Shapes:
    """Return the shape of each weight of a cell, its gates stacked along the first axis."""
    spec, hidden = CELLS[config.cell], config.hidden_size
    rows = len(spec.gates) * hidden
    if not spec.recurrent:
        return {"weight": (rows, input_size), "bias": (rows,)}
    return {
        "rnn.weight_ih_l0": (rows, input_size),
        "rnn.weight_hh_l0": (rows, hidden),
        "rnn.bias_ih_l0": (rows,),
        "rnn.bias_hh_l0": (rows,),
    }
