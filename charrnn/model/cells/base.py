"""What every recurrent cell offers to the model, and how its weights begin."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrent layer over time.

    Attributes:
        num_gates: Blocks of `hidden_size` rows that the weights are stacked from.
        num_states: Tensors of shape (batch, hidden_size) that the cell carries from step to step.
    """

    num_gates: int
    num_states: int

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size).

        Return (batch, time, hidden_size) and the state after the last step.
        """


def initialise(rnn: nn.RNNBase, *, orthogonal: bool) -> None:
    """Start each gate's block by itself: Glorot-uniform inputs, orthogonal (Saxe et al.

    2014) recurrence, no bias.
    """
    for name, parameter in rnn.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        start = (
            nn.init.orthogonal_
            if orthogonal and name.startswith("weight_hh")
            else nn.init.xavier_uniform_
        )
        for block in torch.split(parameter.data, rnn.hidden_size):
            start(block)


def initialise_inputs(
    input_size: int, hidden_size: int, *, gates: int
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the weight (gates * hidden_size, input_size) and bias of a cell without recurrent matrices.

    Each gate's block starts by itself, Glorot-uniform, and the bias at zero.
    """
    weight = nn.Parameter(torch.empty(gates * hidden_size, input_size))
    for block in torch.split(weight.data, hidden_size):
        nn.init.xavier_uniform_(block)
    return weight, nn.Parameter(torch.zeros(gates * hidden_size))
