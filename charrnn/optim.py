"""How the weights move: AdamW, Muon for the layers' matrices, and the learning rate of each step."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from charrnn.config import TrainConfig
from charrnn.model import CharRNN


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (0 is the first): a linear rise, then a cosine down to the floor."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, config.steps - warmup))
    return config.lr * (config.lr_floor + (1 - config.lr_floor) * (1 + math.cos(math.pi * done)) / 2)


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) for every weight, or Muon (Jordan et al. 2024) for the layers' matrices.

    Muon makes each update an orthogonal matrix. A cell stacks its gates' matrices into one parameter, and an orthogonal
    stack would tie the gates to each other, so each gate's block is a matrix of its own here: a view of the parameter,
    moved in place. Embedding, output layer, biases and norms stay with AdamW, as Muon's authors advise.

    Args:
        model: Whose parameters are moved.
        config: Kind, weight decay and learning rate.
    """

    def __init__(self, model: CharRNN, config: TrainConfig) -> None:
        hidden = model.config.hidden_size
        matrices = [p for p in model.layers.parameters() if p.dim() == 2] if config.optimizer == "muon" else []
        chosen = {id(matrix) for matrix in matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        groups = [
            {"params": [p for p in rest if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0},
        ]
        fused = model.device.type in ("cpu", "cuda")
        # Batches are small and the data is passed over few times, so the second moment looks back a shorter way.
        self.parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=fused)]
        self.blocks = [Block(m, gate, hidden) for m in matrices for gate in range(len(m) // hidden)]
        if self.blocks:
            # match_rms_adamw scales an update to the size of one of AdamW's, so that one learning rate serves both.
            muon = torch.optim.Muon(
                [block.view for block in self.blocks],
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            self.parts.append(muon)

    def step(self, lr: float) -> None:
        """Move the weights once by their gradients."""
        for block in self.blocks:
            block.bind_gradient()
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def clear(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        for block in self.blocks:
            block.whole.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, by name: the tensors themselves, which the next step changes."""
        return {f"{part}.{index}.{key}": value for part, index, key, value in self._entries()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to what `state` returned.

        Raises:
            ValueError: It is the state of other parameters, or of another kind of optimizer.
        """
        for number, part in enumerate(self.parts):
            own = part.state_dict()
            found = {name: value for name, value in state.items() if name.startswith(f"{number}.")}
            if found and {name: value.shape for name, value in found.items()} != dict(_shapes(number, part)):
                raise ValueError("The optimizer's state does not fit its parameters.")
            entries = [name.split(".", 2)[1:] for name in found]
            own["state"] = {int(index): {} for index, _ in entries}
            for index, key in entries:
                own["state"][int(index)][key] = state[f"{number}.{index}.{key}"].clone()  # steps move it in place
            part.load_state_dict(own)

    def _entries(self) -> Iterator[tuple[int, int, str, Tensor]]:
        for number, part in enumerate(self.parts):
            for index, entries in part.state_dict()["state"].items():
                for key, value in entries.items():
                    yield number, index, key, value


def _shapes(number: int, part: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Size]]:
    """Yield the name and the shape of each tensor in a part's state, once it has taken a step."""
    averages = ("exp_avg", "exp_avg_sq") if isinstance(part, torch.optim.AdamW) else ("momentum_buffer",)
    parameters = [parameter for group in part.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        if isinstance(part, torch.optim.AdamW):
            yield f"{number}.{index}.step", torch.Size()
        for average in averages:
            yield f"{number}.{index}.{average}", parameter.shape


class Block:
    """One gate's rows of a stacked matrix, as a parameter that shares its memory.

    Attributes:
        whole: The cell's parameter, (gates * hidden_size, columns).
        view: Its rows of one gate, (hidden_size, columns).
    """

    def __init__(self, whole: nn.Parameter, gate: int, hidden_size: int) -> None:
        self.whole = whole
        self.rows = slice(gate * hidden_size, (gate + 1) * hidden_size)
        self.view = nn.Parameter(whole.detach()[self.rows])

    def bind_gradient(self) -> None:
        """Let the view's gradient be its rows of the whole's."""
        self.view.grad = None if self.whole.grad is None else self.whole.grad[self.rows]
