"""Forms of the cells that are faster than the step-by-step loop over their equations.

These are torch's fused kernels where torch has one for the device, else the loops of `cpu_loops`;
and `gated_scan` for cells without a recurrent matrix.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.model.cells.cpu_loops import run_gru, run_rnn
from charrnn.model.cells.gated_scan import gated_scan
from charrnn.model.cells.layer import RecurrentLayer, State


def torch_kernel(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's fused kernel for the cell."""
    if dtype := format_to_cast_to(inputs.device):
        return cast_kernel(layer, inputs, state, dtype)
    before = tuple(part[None] for part in state)
    if layer.cell == "lstm":
        outputs, after = layer.rnn(inputs, before)
        return outputs, (after[0][0], after[1][0])
    outputs, hidden = layer.rnn(inputs, before[0])
    return outputs, (hidden[0],)


def format_to_cast_to(device: torch.device) -> torch.dtype | None:
    """Return the number format to run a kernel in, or None to leave it to autocast.

    On CUDA, autocast runs these kernels in float16 even where it is asked for bfloat16 (torch's
    AutocastRNN.cpp). In float16 small gradients become zero; the loss is scaled up for that format,
    but not for bfloat16. So bfloat16 is cast to here, or float32 if cuDNN is too old for it.
    """
    if device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
        return None
    if torch.get_autocast_dtype("cuda") != torch.bfloat16:
        return None
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return torch.bfloat16 if (version or 0) >= CUDNN_WITH_BFLOAT16 else torch.float32


def cast_kernel(
    layer: RecurrentLayer, inputs: Tensor, state: State, dtype: torch.dtype
) -> tuple[Tensor, State]:
    """Run torch's fused kernel for the cell in a number format, whatever autocast says."""
    weights = [parameter.to(dtype) for parameter in layer.rnn.parameters()]
    before = tuple(part[None].to(dtype) for part in state)
    kernel = KERNELS[layer.activation if layer.cell == "rnn" else layer.cell]
    # Biases, layers, dropout, training, both directions, batch first
    how = (True, 1, 0.0, layer.training, False, True)
    with torch.autocast(inputs.device.type, enabled=False), weights_apart():
        first = before if layer.cell == "lstm" else before[0]
        outputs, *after = kernel(inputs.to(dtype), first, weights, *how)
    return outputs, tuple(part[0] for part in after)


CUDNN_WITH_BFLOAT16 = 91300  # version 9.13; recurrent kernels only
KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "tanh": torch.rnn_tanh,
    "relu": torch.rnn_relu,
}


@contextmanager
def weights_apart() -> Iterator[None]:
    """Silence torch's warning about weights that do not lie side by side in memory.

    Weights that are cast at each step never do; putting them there costs little beside that.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single")
        yield


def gru(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, or on a CPU our own loop."""
    if inputs.device.type != "cpu":
        return torch_kernel(layer, inputs, state)
    weight, recurrent, bias, recurrent_bias = layer.rnn.parameters()
    products = functional.linear(inputs.transpose(0, 1), weight, bias)
    hidden = run_gru(products, state[0], recurrent, recurrent_bias)
    return hidden.transpose(0, 1), (hidden[-1],)


def rnn(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run torch's kernel, or our own loop on a CPU, and for sigmoid, which torch does not have."""
    if inputs.device.type != "cpu" and layer.activation != "sigmoid":
        return torch_kernel(layer, inputs, state)
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
FAST: dict[str, Run] = {
    "lstm": torch_kernel,  # fused on every device
    "gru": gru,
    "rnn": rnn,
    "mingru": mingru,
    "minlstm": minlstm,
}


def run_layer(layer: RecurrentLayer, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a layer over (batch, time, input_size), by its fast form if there is one.

    Returns:
        Outputs (batch, time, hidden_size), and the state after the last step.
    """
    run = FAST.get(layer.cell)
    return run(layer, inputs, state) if run else layer(inputs, state)
