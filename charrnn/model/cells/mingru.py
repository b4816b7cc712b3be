"""minGRU (Feng et al. 2024): a gated unit whose gate and candidate depend on the input alone.

z = sigmoid(W_z x + b_z)        update gate: how much of the candidate comes in
n =         W_n x + b_n         candidate
h' = (1 - z) * h + z * n
"""

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.base import Cell, State, initialise_inputs
from charrnn.model.cells.gated_scan import mix


class MinGRU(Cell):
    """One minGRU layer; its state is (h,)."""

    num_gates = 2
    num_states = 1

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.weight, self.bias = initialise_inputs(input_size, config.hidden_size, gates=2)
        update, _ = torch.split(self.bias.data, config.hidden_size)
        update.fill_(
            -config.forget_bias
        )  # shut it lets the old state stay, so it takes the opposite sign

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the last (h,).
        """
        outputs, last = mix(functional.linear(inputs, self.weight, self.bias), state[0])
        return outputs, (last,)
