"""What every recurrent cell offers to the model, and how its weights begin."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrent layer over time: a fused torch module, started and regularised in charrnn's way.

    Attributes:
        num_gates: Blocks of `hidden_size` rows that the weights are stacked from.
        num_states: Tensors of shape (batch, hidden_size) that the cell carries from step to step.
        rnn: The torch module that holds the weights.
        weight_dropout: Share of the recurrent matrix dropped in training.
    """

    num_gates: int
    num_states: int
    rnn: nn.RNNBase
    weight_dropout: float

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size); return (batch, time, hidden_size) and the state after the last step."""

    def call(self, inputs: Tensor, state: Tensor | State) -> tuple[Tensor, Tensor | State]:
        """Call the torch module; in training, with a random share of its recurrent matrix dropped.

        One mask serves all steps of the batch: DropConnect on the recurrence (Merity et al. 2017, section 2).
        """
        if not self.training or self.weight_dropout == 0:
            return self.rnn(inputs, state)  # type: ignore[no-any-return]
        dropped = functional.dropout(self.rnn.get_parameter("weight_hh_l0"), self.weight_dropout)
        return functional_call(self.rnn, {"weight_hh_l0": dropped}, (inputs, state))  # type: ignore[no-any-return]


def initialise(rnn: nn.RNNBase, *, orthogonal: bool) -> None:
    """Start each gate's block by itself: Glorot-uniform inputs, orthogonal (Saxe et al. 2014) recurrence, no bias."""
    for name, parameter in rnn.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        start = nn.init.orthogonal_ if orthogonal and name.startswith("weight_hh") else nn.init.xavier_uniform_
        for block in parameter.data.split(rnn.hidden_size):
            start(block)
