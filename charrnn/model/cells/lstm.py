"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

i = sigmoid(W_i x + U_i h + b_i)        input gate
f = sigmoid(W_f x + U_f h + b_f)        forget gate
g =    tanh(W_g x + U_g h + b_g)        candidate
o = sigmoid(W_o x + U_o h + b_o)        output gate
c' = f * c + i * g                      the memory
h' = o * tanh(c')                       the output
"""

import torch
from torch import Tensor, nn

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.base import Cell, State, initialise


class LSTM(Cell):
    """One LSTM layer; its state is (h, c)."""

    num_gates = 4
    num_states = 2

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size, config.hidden_size, batch_first=True)
        initialise(self.rnn, orthogonal=config.orthogonal)
        # A forget gate that starts open lets gradients pass from the first step on (Jozefowicz et
        # al. 2015).
        _, forget, _, _ = torch.split(self.rnn.get_parameter("bias_ih_l0").data, config.hidden_size)
        forget.fill_(config.forget_bias)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the last (h, c).
        """
        hidden, memory = state
        outputs, (hidden, memory) = self.rnn(inputs, (hidden[None], memory[None]))
        return outputs, (hidden[0], memory[0])
