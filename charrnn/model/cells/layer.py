"""One recurrent layer over time, of any cell: its weights, how they start, and how it runs."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.model.cells import Equations, equations, gate_activations

State = tuple[Tensor, ...]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda values: values,
}
# Modules that hold a cell's weights, and whose kernels `fast` uses.
TORCH_MODULES: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class StackedWeights(nn.Module):
    """The weights of a recurrent cell that torch has no module for, named as torch names them.

    Attributes:
        hidden_size: Width of the layer.
    """

    def __init__(self, input_size: int, hidden_size: int, gates: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        rows = gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))


class RecurrentLayer(nn.Module):
    """A cell over time.

    Every parameter stacks the cell's gates along its first axis, each a block of hidden_size rows.
    The parameters are those of `rnn` or, if the cell has no recurrent matrix, `weight` and `bias`.
    `charrnn.model.shapes` lists them.

    Args:
        input_size: Width of the inputs.
        config: The model's configuration.

    Attributes:
        hidden_size: Width of the layer.
    """

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.spec = CELLS[config.cell]
        self.cell, self.activation = config.cell, config.activation
        self.activations = gate_activations(config)
        gates, hidden = len(self.spec.gates), config.hidden_size
        self.hidden_size = hidden
        if not self.spec.recurrent:
            self.weight = nn.Parameter(torch.empty(gates * hidden, input_size))
            self.bias = nn.Parameter(torch.empty(gates * hidden))
        elif config.cell in TORCH_MODULES:
            relu = config.cell == "rnn" and config.activation == "relu"
            kind = {"nonlinearity": "relu"} if relu else {}
            module = TORCH_MODULES[config.cell]
            self.rnn: nn.Module = module(input_size, hidden, batch_first=True, **kind)
        else:
            self.rnn = StackedWeights(input_size, hidden, gates)
        self._initialise(config)

    @property
    def equations(self) -> Equations:
        """The cell's equations; not an attribute, as a layer that held a module can't be copied."""
        return equations(self.cell)

    def _initialise(self, config: ModelConfig) -> None:
        """Initialise each gate's block: Glorot-uniform for inputs, orthogonal for the recurrence.

        Orthogonal matrices: Saxe et al. 2014. Biases start at zero, except those of the gates in
        the cell's `forget_bias`.
        """
        for name, parameter in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
                continue
            orthogonal = config.orthogonal and "weight_hh" in name
            start = nn.init.orthogonal_ if orthogonal else nn.init.xavier_uniform_
            for block in torch.split(parameter.data, config.hidden_size):
                start(block)
        bias = self.bias if not self.spec.recurrent else self.rnn.get_parameter("bias_ih_l0")
        blocks = torch.split(bias.data, config.hidden_size)
        for gate, block in zip(self.spec.gates, blocks, strict=True):
            if gate in self.spec.forget_bias:
                block.fill_(self.spec.forget_bias[gate] * config.forget_bias)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over (batch, time, input_size), step by step, by the cell's equations.

        `charrnn.model.cells.fast` computes the same, but faster.

        Returns:
            Outputs (batch, time, hidden_size), and the state after the last step.
        """
        outputs, step = [], self.equations.step
        for product in self.input_products(inputs).unbind(1):
            state = step(self.gates(product, state[0]), state, torch)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state

    def zeros(self, inputs: Tensor) -> State:
        """Return the state before the first step of inputs (batch, time, input_size)."""
        return (inputs.new_zeros(len(inputs), self.hidden_size),) * self.spec.num_states

    def input_products(self, inputs: Tensor) -> Tensor:
        """Return W x + b of all gates, (..., gates * hidden_size)."""
        if not self.spec.recurrent:
            return functional.linear(inputs, self.weight, self.bias)
        weight, _, bias, _ = self.rnn.parameters()
        return functional.linear(inputs, weight, bias)

    def gates(self, products: Tensor, hidden: Tensor) -> tuple[object, ...]:
        """Return the gates of one step, as the cell's equations expect them.

        Args:
            products: What `input_products` returned for the step, (batch, gates * hidden_size).
            hidden: The cell's output at the step before, (batch, hidden_size).
        """
        return tuple(self._activated(products, hidden))

    def _activated(self, products: Tensor, hidden: Tensor) -> Iterator[object]:
        own = torch.chunk(products, len(self.activations), dim=-1)
        if not self.spec.recurrent:
            yield from (ACTIVATIONS[kind](x) for kind, x in zip(self.activations, own, strict=True))
            return
        _, weight, _, bias = self.rnn.parameters()
        sums = functional.linear(hidden, weight, bias)
        recurrent = torch.chunk(sums, len(self.activations), dim=-1)
        for kind, x, h in zip(self.activations, own, recurrent, strict=True):
            yield (x, h) if kind == "split" else ACTIVATIONS[kind](x + h)

    def kept(self, inputs: Tensor, hidden: Tensor) -> Tensor | None:
        """Return the fraction of its state that each unit keeps in a step, (batch, hidden_size).

        Args:
            inputs: The step's inputs, (batch, input_size).
            hidden: The cell's output at the step before, (batch, hidden_size).

        Returns:
            The fraction, or None if none of the cell's gates determines it.
        """
        if not hasattr(self.equations, "kept"):
            return None
        gates = self.gates(self.input_products(inputs), hidden)
        return self.equations.kept(gates, torch)  # type: ignore[no-any-return]
