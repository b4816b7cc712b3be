"""What runs a cell faster than one time step after the other by its equations.

Fused kernels of torch, where it has one for the device; loops of our own where it has none, see
`cpu_loops`; and the parallel form of cells without a recurrent matrix, see `gated_scan`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.model.cells.cpu_loops import run_gru, run_rnn
from charrnn.model.cells.gated_scan import gated_scan
from charrnn.model.cells.layer import RecurrentLayer, State


def lstm(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, which is fused on every device."""
    hidden, memory = state
    outputs, (hidden, memory) = layer.rnn(inputs, (hidden[None], memory[None]))
    return outputs, (hidden[0], memory[0])


def gru(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, or our loop on a processor."""
    if inputs.device.type != "cpu":
        outputs, hidden = layer.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)
    weight, recurrent, bias, recurrent_bias = layer.rnn.parameters()
    products = functional.linear(inputs.transpose(0, 1), weight, bias)
    hidden = run_gru(products, state[0], recurrent, recurrent_bias)
    return hidden.transpose(0, 1), (hidden[-1],)


def rnn(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, or our loop on a processor and for sigmoid, which torch does not have."""
    if inputs.device.type != "cpu" and layer.activation != "sigmoid":
        outputs, hidden = layer.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)
    weight, recurrent, bias, recurrent_bias = layer.rnn.parameters()
    products = functional.linear(inputs.transpose(0, 1), weight, bias + recurrent_bias)
    hidden = run_rnn(products, state[0], recurrent, layer.activation)
    return hidden.transpose(0, 1), (hidden[-1],)


def mingru(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Scan all time steps together."""
    outputs, last = gated_scan(layer.input_products(inputs), state[0])
    return outputs, (last,)


def minlstm(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Scan all time steps together; i / (f + i) is the gate, as the sigmoid of log i - log f."""
    forget, enter, candidate = layer.input_products(inputs).chunk(3, dim=-1)
    update = functional.softplus(-forget) - functional.softplus(-enter)
    outputs, last = gated_scan(torch.cat([update, candidate], dim=-1), state[0])
    return outputs, (last,)


Run = Callable[[RecurrentLayer, Tensor, State], tuple[Tensor, State]]
FAST: dict[str, Run] = {"lstm": lstm, "gru": gru, "rnn": rnn, "mingru": mingru, "minlstm": minlstm}


def run_layer(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a layer over (batch, time, input_size), as fast as it can be.

    Returns:
        Outputs (batch, time, hidden_size), and the state after the last step.
    """
    run = FAST.get(layer.cell)
    return run(layer, inputs, state) if run else layer(inputs, state)
