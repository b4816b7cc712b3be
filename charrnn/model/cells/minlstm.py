"""minLSTM (Feng et al.

2024): a long short-term memory whose gates depend on the input alone and sum to 1.

f = sigmoid(W_f x + b_f)              forget gate
i = sigmoid(W_i x + b_i)              input gate
g =         W_g x + b_g               candidate
h' = (f * h + i * g) / (f + i)
"""

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.base import Cell, State, initialise_inputs
from charrnn.model.cells.gated_scan import mix


class MinLSTM(Cell):
    """One minLSTM layer; its state is (h,)."""

    num_gates = 3
    num_states = 1

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.weight, self.bias = initialise_inputs(input_size, config.hidden_size, gates=3)
        forget, enter, _ = torch.split(self.bias.data, config.hidden_size)
        forget.fill_(
            config.forget_bias
        )  # opposite biases: f / (f + i) is then the sigmoid of one of them
        enter.fill_(-config.forget_bias)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the last (h,).
        """
        forget, enter, candidate = functional.linear(inputs, self.weight, self.bias).chunk(
            3, dim=-1
        )
        # i / (f + i) is the sigmoid of log i - log f, which stays finite where both gates are shut.
        update = functional.softplus(-forget) - functional.softplus(-enter)
        outputs, last = mix(torch.cat([update, candidate], dim=-1), state[0])
        return outputs, (last,)
