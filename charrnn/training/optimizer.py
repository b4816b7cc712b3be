"""The optimizers: AdamW, Muon for the layers' matrices, row-wise RMSprop for n-gram tables, SGD."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from charrnn.config.training import TrainConfig
from charrnn.model.cells.layer import RecurrentLayer
from charrnn.model.network import CharRNN
from charrnn.model.shapes import TABLES

# AdamW. The average of squared gradients is shorter than usual (0.999), because batches are small
# and epochs few.
BETA, SQUARE_BETA, EPSILON = 0.9, 0.99, 1e-8
MOMENTUM = 0.95  # Muon
# Tables of n-grams: a factor of the learning rate. Rows are seldom needed, so they take long steps.
TABLE_LR = 1.5
# Muon: a, b and c of each Newton-Schulz round. The two polynomials are optimal for singular values
# between 0.01 and 1 in the sense of Amsel et al. (2025, section 3): the first minimises the largest
# distance from 1 over that interval, the second over the first's image of it. More rounds come
# closer to an orthogonal matrix, but did not train better.
NEWTON_SCHULZ_ROUNDS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365))


class Optimizer:
    """AdamW for all weights, Muon for the layers' matrices and AdamW for the rest, or plain SGD.

    Of the tables of n-grams, only the rows that have a gradient are updated, so that the size of a
    table costs nothing; see `update_rows`.

    It does not use `torch.optim`: this Muon updates all gates at once, which is faster, and the
    first use of a torch optimizer loads torch's compiler, which takes a second. The tests compare
    it with torch's own.

    Args:
        model: The model to train.
        config: Optimizer and weight decay.
        precision: `fp32`, or a shorter format, in which case Muon orthogonalises in bfloat16.
    """

    def __init__(self, model: CharRNN, config: TrainConfig, precision: str = "fp32") -> None:
        self.parameters = dict(model.named_parameters())
        self.weight_decay = config.weight_decay
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        use_muon = config.optimizer == "muon"
        self.hidden_sizes = recurrent_matrices(model) if use_muon else {}
        self.matrices = list(self.hidden_sizes)
        self.tables = [name for name in self.parameters if name == TABLES]
        self.others = [
            name for name in self.parameters if name not in (*self.matrices, *self.tables)
        ]
        self.steps = torch.zeros((), dtype=torch.int64)
        self.plain = config.optimizer == "sgd"  # it has no averages
        averaged = () if self.plain else (*self.matrices, *self.others)
        squared = () if self.plain else self.others
        self.averages = {name: torch.zeros_like(self.parameters[name]) for name in averaged}
        self.squares = {name: torch.zeros_like(self.parameters[name]) for name in squared}
        for name in self.tables:
            self.squares[name] = self.parameters[name].new_zeros(len(self.parameters[name]), 1)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every weight that has a gradient."""
        self.steps += 1
        for name in self.others:
            parameter = self.parameters[name]
            if parameter.grad is not None:
                decay = self.weight_decay if parameter.dim() > 1 else 0.0
                if self.plain:
                    parameter.mul_(1 - lr * decay).add_(parameter.grad, alpha=-lr)
                    continue
                update_adamw(
                    parameter, self.averages[name], self.squares[name], int(self.steps), lr, decay
                )
        for name in self.matrices:
            parameter = self.parameters[name]
            if parameter.grad is not None:
                update_muon(
                    parameter,
                    self.averages[name],
                    lr,
                    self.weight_decay,
                    self.hidden_sizes[name],
                    self.dtype,
                )
        for name in self.tables:
            update_rows(self.parameters[name], self.squares[name], int(self.steps), TABLE_LR * lr)

    @property
    def param_groups(self) -> list[dict[str, list[Tensor]]]:
        """All parameters, in the form of a torch optimizer, for torch's `GradScaler`."""
        return [{"params": list(self.parameters.values())}]

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the optimizer's state by name; the next step changes these tensors in place."""
        return (
            {"steps": self.steps}
            | {f"average.{name}": value for name, value in self.averages.items()}
            | {f"square.{name}": value for name, value in self.squares.items()}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned.

        Raises:
            ValueError: It is the state of other parameters or of another optimizer.
        """
        own = self.state()
        if {name: value.shape for name, value in own.items()} != {
            name: value.shape for name, value in state.items()
        }:
            raise ValueError("The optimizer's state does not fit its parameters.")
        if not 0 <= (steps := int(state["steps"])) < 1 << 62:
            raise ValueError(f"An optimizer cannot have taken {steps} steps.")
        for name, value in own.items():
            value.copy_(state[name])


def recurrent_matrices(model: CharRNN) -> dict[str, int]:
    """Return the width of the gates of each matrix of a recurrent layer, by the matrix's name."""
    layers = [one for one in model.named_modules() if isinstance(one[1], RecurrentLayer)]
    return {
        f"{prefix}.{name}": layer.hidden_size
        for prefix, layer in layers
        for name, parameter in layer.named_parameters()
        if parameter.dim() == 2
    }


def update_adamw(
    parameter: Tensor, average: Tensor, square: Tensor, step: int, lr: float, weight_decay: float
) -> None:
    """Update one weight tensor with AdamW (Loshchilov & Hutter 2019, algorithm 2).

    `step` counts from 1.
    """
    assert parameter.grad is not None
    average.lerp_(parameter.grad, 1 - BETA)
    square.mul_(SQUARE_BETA).addcmul_(parameter.grad, parameter.grad, value=1 - SQUARE_BETA)
    size = (square / (1 - SQUARE_BETA**step)).sqrt_().add_(EPSILON)
    parameter.mul_(1 - lr * weight_decay).addcdiv_(average, size, value=-lr / (1 - BETA**step))


def update_rows(table: Tensor, square: Tensor, step: int, lr: float) -> None:
    """Update the rows of a table that have a gradient, with RMSprop (Tieleman & Hinton 2012).

    One average of squared gradients per row, (rows, 1), is enough, and neither momentum nor weight
    decay helped (`tests/benchmarks/RESULTS.md`). An average changes only when its row has a
    gradient, so that the first steps of a row are the longest, whenever they come.

    Args:
        table: The parameter; its gradient is sparse and coalesced, or None.
        square: The averages.
        step: Counts from 1.
        lr: Learning rate.
    """
    if table.grad is None:
        return
    rows, gradient = table.grad.indices()[0], table.grad.values()
    mean = gradient.square().mean(dim=1, keepdim=True)
    found = square[rows].lerp_(mean, 1 - SQUARE_BETA)
    square[rows] = found
    size = (found / (1 - SQUARE_BETA**step)).sqrt_().add_(EPSILON)
    table.index_add_(0, rows, gradient / size, alpha=-lr)


def update_muon(
    matrix: Tensor,
    average: Tensor,
    lr: float,
    weight_decay: float,
    hidden_size: int,
    dtype: torch.dtype,
) -> None:
    """Update one matrix (gates * hidden_size, columns) with Muon (Jordan et al. 2024).

    The momentum is Nesterov's. Each gate's block is orthogonalised by itself, because an orthogonal
    stack of them would couple the gates. The update is scaled to the size of an AdamW update (Liu
    et al. 2025, equation 4), so that one learning rate suits both.
    """
    assert matrix.grad is not None
    average.lerp_(matrix.grad, 1 - MOMENTUM)
    gates = matrix.grad.lerp(average, MOMENTUM).view(-1, hidden_size, matrix.shape[1])
    update = orthogonalise(gates.to(dtype)).reshape(matrix.shape)
    matrix.mul_(1 - lr * weight_decay)
    matrix.add_(update, alpha=-0.2 * math.sqrt(max(hidden_size, matrix.shape[1])) * lr)


def orthogonalise(blocks: Tensor) -> Tensor:
    """Return matrices with the same singular vectors and with singular values close to 1.

    Each round of this quintic Newton-Schulz iteration maps every singular value x to
    a x + b x^3 + c x^5. Singular values of at least 0.01 times the matrix's norm end between 0.29
    and 1.71.

    Args:
        blocks: The matrices, (count, rows, columns).
    """
    tall = blocks.shape[1] > blocks.shape[2]
    x = blocks.mT if tall else blocks
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for a, b, c in NEWTON_SCHULZ_ROUNDS:
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
