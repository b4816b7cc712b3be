"""Gated recurrent unit (Cho et al.

2014), in the form with the reset gate after the recurrent product.

r = sigmoid(W_r x + b_r + U_r h + d_r)          reset gate
z = sigmoid(W_z x + b_z + U_z h + d_z)          update gate: how much of the old state stays
n =    tanh(W_n x + b_n + r * (U_n h + d_n))    candidate
h' = (1 - z) * n + z * h
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.base import Cell, State, initialise
from charrnn.model.cells.cpu_loops import run_gru


class GRU(Cell):
    """One GRU layer; its state is (h,)."""

    num_gates = 3
    num_states = 1

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, config.hidden_size, batch_first=True)
        initialise(self.rnn, orthogonal=config.orthogonal)
        _, update, _ = torch.split(self.rnn.get_parameter("bias_ih_l0").data, config.hidden_size)
        update.fill_(config.forget_bias)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the last (h,).
        """
        if inputs.device.type == "cpu":
            weight, recurrent, bias, recurrent_bias = self.rnn.parameters()
            products = functional.linear(inputs.transpose(0, 1), weight, bias)
            hidden = run_gru(products, state[0], recurrent, recurrent_bias)
            return hidden.transpose(0, 1), (hidden[-1],)
        outputs, hidden = self.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)
