"""The simple recurrent network (Elman 1990).

h' = phi(W x + U h + b)        phi is tanh, sigmoid, or relu (started as in Le et al. 2015, but orthogonal)

torch has no such network with a sigmoid. But sigmoid(x) = (1 + tanh(x / 2)) / 2, so s = 2 h - 1 follows the equation
with tanh and other weights, s' = tanh((W x + b + U 1 / 2) / 2 + U s / 4), in which 1 is a vector of ones.
"""

import torch
from torch import Tensor, nn

from charrnn.cells.base import Cell, State, initialise
from charrnn.config import ModelConfig


class RNN(Cell):
    """One Elman layer; its state is (h,)."""

    num_gates = 1
    num_states = 1

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.sigmoid = config.activation == "sigmoid"
        activation = "tanh" if self.sigmoid else config.activation
        self.rnn = nn.RNN(input_size, config.hidden_size, nonlinearity=activation, batch_first=True)
        initialise(self.rnn, orthogonal=config.orthogonal)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size); return (batch, time, hidden_size) and the last (h,)."""
        if self.sigmoid:
            return self._forward_sigmoid(inputs, state[0])
        outputs, hidden = self.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)

    def _forward_sigmoid(self, inputs: Tensor, start: Tensor) -> tuple[Tensor, State]:
        w, u, b, d = (
            self.rnn.get_parameter(name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        )
        weights = [w / 2, u / 4, b / 2, d / 2 + u.sum(dim=1) / 4]
        signed, _ = torch.rnn_tanh(inputs, (2 * start - 1)[None], weights, True, 1, 0.0, self.training, False, True)
        outputs = (1 + signed) / 2
        return outputs, (outputs[:, -1],)
