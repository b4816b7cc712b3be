"""Forms of the cells that are faster than the step-by-step loop over their equations.

These are torch's fused kernels where torch has one for the device, else the loops of `cpu_loops`;
and `gated_scan` for cells without a recurrent matrix.
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
    """Run torch's kernel, or on a CPU our own loop."""
    if inputs.device.type != "cpu":
        outputs, hidden = layer.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)
    weight, recurrent, bias, recurrent_bias = layer.rnn.parameters()
    products = functional.linear(inputs.transpose(0, 1), weight, bias)
    hidden = run_gru(products, state[0], recurrent, recurrent_bias)
    return hidden.transpose(0, 1), (hidden[-1],)


def rnn(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, or our own loop on a CPU, and for sigmoid, which torch does not have."""
    if inputs.device.type != "cpu" and layer.activation != "sigmoid":
        outputs, hidden = layer.rnn(inputs, state[0][None])
        return outputs, (hidden[0],)
    weight, recurrent, bias, recurrent_bias = layer.rnn.parameters()
    products = functional.linear(inputs.transpose(0, 1), weight, bias + recurrent_bias)
    hidden = run_rnn(products, state[0], recurrent, layer.activation)
    return hidden.transpose(0, 1), (hidden[-1],)


def mingru(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run `gated_scan` over the whole sequence."""
    outputs, last = gated_scan(layer.input_products(inputs), state[0])
    return outputs, (last,)


def minlstm(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run `gated_scan` with the gate i / (f + i), which is the sigmoid of log i - log f."""
    forget, enter, candidate = layer.input_products(inputs).chunk(3, dim=-1)
    update = functional.softplus(-forget) - functional.softplus(-enter)
    outputs, last = gated_scan(torch.cat([update, candidate], dim=-1), state[0])
    return outputs, (last,)


Run = Callable[[RecurrentLayer, Tensor, State], tuple[Tensor, State]]
FAST: dict[str, Run] = {"lstm": lstm, "gru": gru, "rnn": rnn, "mingru": mingru, "minlstm": minlstm}


def run_layer(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a layer over (batch, time, input_size), by its fast form if there is one.

    Returns:
        Outputs (batch, time, hidden_size), and the state after the last step.
    """
    run = FAST.get(layer.cell)
    return run(layer, inputs, state) if run else layer(inputs, state)
