"""Distillation: a student learns the probabilities that trained models give, besides the text.

    Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network
    Timiryasov and Tastet 2023, Baby Llama: a student of several models' mean

With p the probabilities of the student and q those of its teacher, both after the same symbols, the
loss of a token is

    (1 - weight) * -log p(target)  +  weight * sum over all symbols of q(symbol) * -log p(symbol)

The teacher reads the very batches that the student reads. Its state is carried and restarts as the
student's does, and stands behind it in one tuple, so that both are cut into rows, saved and
restored together.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.data.batching.base import NO_TARGET
from charrnn.model.cells.layer import State
from charrnn.model.network import CharRNN, from_weights
from charrnn.model.shapes import state_shapes
from charrnn.storage.model_file import SavedModel


class Teacher:
    """Models whose mean probabilities a student learns. They are not trained, and have no dropout.

    Args:
        models: The models, at least one, on the student's device.
        weight: Weight of the teacher's probabilities in the loss, 0 to 1; the rest is the text's.
    """

    def __init__(self, models: Iterable[CharRNN], weight: float) -> None:
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.weight = weight

    @torch.no_grad()
    def probabilities(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Predict the symbol after each one given.

        Args:
            ids: Symbols, (batch, time) int64.
            state: What an earlier call returned, or None at the start of a text.

        Returns:
            Probabilities (batch, time, vocab_size) in float32, and the state after the last step.
        """
        total, after, begin = None, list[Tensor](), 0
        for model in self.models:
            end = begin + len(state_shapes(model.config))
            values, own = model.hidden(ids, None if state is None else state[begin:end])
            probabilities = model.log_probs(values).exp_()
            total = probabilities if total is None else total.add_(probabilities)
            after, begin = [*after, *own], end
        assert total is not None
        return total.div_(len(self.models)), tuple(after)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: zeros."""
        return tuple(one for model in self.models for one in model.initial_state(batch))


def build_teacher(
    models: Iterable[SavedModel], weight: float, device: torch.device
) -> Teacher | None:
    """Return the teacher that saved models are together, on a device; None if there are none."""
    found = [from_weights(one.config, one.weights).to(device) for one in models]
    return Teacher(found, weight) if found else None


def distillation_loss(log_probs: Tensor, targets: Tensor, teacher: Tensor, weight: float) -> Tensor:
    """Return the summed loss of a batch in nats; see the equation above.

    Args:
        log_probs: Log probabilities of the student, (batch, time, vocab_size).
        targets: Symbols, (batch, time); `NO_TARGET` marks positions that do not count.
        teacher: Probabilities of the teacher, (batch, time, vocab_size).
        weight: Weight of the teacher.
    """
    text = functional.nll_loss(
        log_probs.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    expected = teacher.masked_fill(targets[..., None] == NO_TARGET, 0.0)
    return (1 - weight) * text - weight * (expected * log_probs).sum()
