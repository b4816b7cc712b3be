"""What every recurrent cell offers to the model, and how its weights begin."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrent layer over time: a fused torch module, started in charrnn's way.

    Attributes:
        num_gates: Blocks of `hidden_size` rows that the weights are stacked from.
        num_states: Tensors of shape (batch, hidden_size) that the cell carries from step to step.
        rnn: The torch module that holds the weights.
    """

    num_gates: int
    num_states: int
    rnn: nn.RNNBase

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size); return (batch, time, hidden_size) and the state after the last step."""


def initialise(rnn: nn.RNNBase, *, orthogonal: bool) -> None:
    """Start each gate's block by itself: Glorot-uniform inputs, orthogonal (Saxe et al. 2014) recurrence, no bias."""
    for name, parameter in rnn.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        start = nn.init.orthogonal_ if orthogonal and name.startswith("weight_hh") else nn.init.xavier_uniform_
        for block in torch.split(parameter.data, rnn.hidden_size):
            start(block)
