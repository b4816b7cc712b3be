"""How the weights move.

AdamW, Muon for the layers' matrices, and the learning rate of each step.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from charrnn.config.schema import TrainConfig
from charrnn.model.network import CharRNN

# Of AdamW. Batches are small and the data is passed over few times, so the squares look back a
# shorter way than usual.
BETA, SQUARE_BETA, EPSILON = 0.9, 0.99, 1e-8
MOMENTUM = 0.95  # of Muon
# Of Muon's iteration: a, b and c of each round. They are the best two polynomials for what is 0.01
# to 1 at first, in the sense of Amsel et al. (2025, section 3): the first's greatest distance from
# 1 there is as small as it can be, then the second's on what the first makes of that. More rounds
# come nearer to an orthogonal matrix; they learned no better.
ROUNDS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365))


class Optimizer:
    """AdamW for every weight, or Muon for the layers' matrices.

    It stands here and not in `torch.optim` because Muon then moves all gates at once, which is
    faster, and because the first use of an optimizer of torch's loads its compiler, which takes a
    second. The tests hold it against torch's own.

    Args:
        model: Whose parameters are moved.
        config: Kind and weight decay.
        precision: `fp32`, or a shorter format, with which Muon orthogonalises in bfloat16.
    """

    def __init__(self, model: CharRNN, config: TrainConfig, precision: str = "fp32") -> None:
        self.parameters = dict(model.named_parameters())
        self.weight_decay, self.hidden_size = config.weight_decay, model.config.hidden_size
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        inside = (
            {id(parameter) for parameter in model.layers.parameters()}
            if config.optimizer == "muon"
            else set()
        )
        self.matrices = [
            name for name, p in self.parameters.items() if p.dim() == 2 and id(p) in inside
        ]
        self.others = [name for name in self.parameters if name not in self.matrices]
        self.steps = torch.zeros((), dtype=torch.int64)
        self.averages = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.squares = {name: torch.zeros_like(self.parameters[name]) for name in self.others}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every weight that has a gradient."""
        self.steps += 1
        for name in self.others:
            parameter = self.parameters[name]
            if parameter.grad is not None:
                decay = self.weight_decay if parameter.dim() > 1 else 0.0
                move_adamw(
                    parameter, self.averages[name], self.squares[name], int(self.steps), lr, decay
                )
        for name in self.matrices:
            parameter = self.parameters[name]
            if parameter.grad is not None:
                move_muon(
                    parameter,
                    self.averages[name],
                    lr,
                    self.weight_decay,
                    self.hidden_size,
                    self.dtype,
                )

    @property
    def param_groups(self) -> list[dict[str, list[Tensor]]]:
        """All parameters, as torch's optimizers have them: its `GradScaler` asks for them."""
        return [{"params": list(self.parameters.values())}]

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, by name.

        The tensors themselves, which the next step changes.
        """
        return (
            {"steps": self.steps}
            | {f"average.{name}": value for name, value in self.averages.items()}
            | {f"square.{name}": value for name, value in self.squares.items()}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned.

        Raises:
            ValueError: It is the state of other parameters, or of another kind of optimizer.
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


def move_adamw(
    parameter: Tensor, average: Tensor, square: Tensor, step: int, lr: float, weight_decay: float
) -> None:
    """Move one weight tensor by its gradient (Loshchilov & Hutter 2019, algorithm 2).

    `step` counts from 1.
    """
    assert parameter.grad is not None
    average.lerp_(parameter.grad, 1 - BETA)
    square.mul_(SQUARE_BETA).addcmul_(parameter.grad, parameter.grad, value=1 - SQUARE_BETA)
    size = (square / (1 - SQUARE_BETA**step)).sqrt_().add_(EPSILON)
    parameter.mul_(1 - lr * weight_decay).addcdiv_(average, size, value=-lr / (1 - BETA**step))


def move_muon(
    matrix: Tensor,
    average: Tensor,
    lr: float,
    weight_decay: float,
    hidden_size: int,
    dtype: torch.dtype,
) -> None:
    """Move one matrix (gates * hidden_size, columns) by its gradient, each gate by a nearly orthogonal one of its own.

    That is Muon (Jordan et al. 2024) with Nesterov's momentum. An orthogonal stack would tie the
    gates to each other. An update is scaled to the size of one of AdamW's (Liu et al. 2025,
    equation 4), so that one learning rate serves both.
    """
    assert matrix.grad is not None
    average.lerp_(matrix.grad, 1 - MOMENTUM)
    gates = matrix.grad.lerp(average, MOMENTUM).view(-1, hidden_size, matrix.shape[1])
    update = orthogonalise(gates.to(dtype)).reshape(matrix.shape)
    matrix.mul_(1 - lr * weight_decay)
    matrix.add_(update, alpha=-0.2 * math.sqrt(max(hidden_size, matrix.shape[1])) * lr)


def orthogonalise(blocks: Tensor) -> Tensor:
    """Return matrices (count, rows, columns) with the same singular vectors, and singular values brought near to 1.

    That is a quintic Newton-Schulz iteration, in each round a x + b x^3 + c x^5 of every singular
    value x: what is 0.01 of the matrix's norm and more comes to 0.29 to 1.71.
    """
    tall = blocks.shape[1] > blocks.shape[2]
    x = blocks.mT if tall else blocks
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for a, b, c in ROUNDS:
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
