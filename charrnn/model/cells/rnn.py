"""The simple recurrent network (Elman 1990).

h' = phi(W x + U h + b)        phi is tanh, sigmoid, or relu (started as in Le et al. 2015, but
orthogonal)
"""

from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.schema import ModelConfig
from charrnn.model.cells.base import Cell, State, initialise
from charrnn.model.cells.cpu_loops import run_rnn


class RNN(Cell):
    """One Elman layer; its state is (h,)."""

    num_gates = 1
    num_states = 1

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.fused = (
            config.activation != "sigmoid"
        )  # of which torch has no kernel: the loop then runs on every device
        nonlinearity = config.activation if self.fused else "tanh"
        self.rnn = nn.RNN(
            input_size, config.hidden_size, nonlinearity=nonlinearity, batch_first=True
        )
        initialise(self.rnn, orthogonal=config.orthogonal)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the last (h,).
        """
        if self.fused and inputs.device.type != "cpu":
            outputs, hidden = self.rnn(inputs, state[0][None])
            return outputs, (hidden[0],)
        weight, recurrent, bias, recurrent_bias = self.rnn.parameters()
        products = functional.linear(inputs.transpose(0, 1), weight, bias + recurrent_bias)
        hidden = run_rnn(products, state[0], recurrent, self.activation)
        return hidden.transpose(0, 1), (hidden[-1],)
