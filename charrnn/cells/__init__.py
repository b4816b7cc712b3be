"""Recurrent cells: one file each, one line each in `CELLS`.

A cell is one layer over time. It is built from `(input_size, config)` and called as `cell(inputs, state)`: `inputs` is
(batch, time, input_size), `state` a tuple of `cell.num_states` tensors (batch, hidden_size); it returns outputs (batch,
time, hidden_size) and the state after the last step. Its parameters are those of the torch module of the same name in
`cell.rnn`: `weight_ih_l0` (gates * hidden_size, input_size), `weight_hh_l0` (gates * hidden_size, hidden_size) and two
biases, with the gates stacked along the first axis in torch's order.
"""

from charrnn.cells.base import Cell, State
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN

CELLS: dict[str, type[Cell]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}

__all__ = ["CELLS", "Cell", "State"]
