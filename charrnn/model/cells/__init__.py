"""Recurrent cells: one file each, one line each in `CELLS`.

A cell is one layer over time. It is built from `(input_size, config)` and called as `cell(inputs,
state)`: `inputs` is (batch, time, input_size), `state` a tuple of `cell.num_states` tensors (batch,
hidden_size); it returns outputs (batch, time, hidden_size) and the state after the last step. Every
parameter is a stack of its gates along the first axis, each a block of hidden_size rows: those of
the torch module of the same name, in `cell.rnn`, or, in the cells that have no matrix of the state,
one `weight` (gates * hidden_size, input_size) and one `bias`. `charrnn.model.shapes` lists them.
"""

from charrnn.model.cells.base import Cell, State
from charrnn.model.cells.gru import GRU
from charrnn.model.cells.lstm import LSTM
from charrnn.model.cells.mingru import MinGRU
from charrnn.model.cells.minlstm import MinLSTM
from charrnn.model.cells.rnn import RNN

CELLS: dict[str, type[Cell]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
}

__all__ = ["CELLS", "Cell", "State"]
