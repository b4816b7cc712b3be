"""Distillation: a student learns the probabilities that trained models give, besides the text.

    Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network
    Timiryasov and Tastet 2023, Baby Llama: a student of several models' mean

With p the probabilities of the student and q those of its teacher, both after the same symbols, the
loss of a token is

    (1 - weight) * -log p(target)  +  weight * sum over all symbols of q(symbol) * -log p(symbol)

With label smoothing, the targets of the first part are smoothed. The teacher reads the very batches
that the student reads. Its state is carried and restarts as the student's does, and stands behind
it in one tuple, so that both are cut into rows, saved and restored together.
"""

import torch
from torch import Tensor
from torch.nn import functional

from charrnn.data.batching.base import NO_TARGET
from charrnn.evaluation.networks import network_of
from charrnn.model.blended_network import Network
from charrnn.model.cells.layer import State
from charrnn.storage.blend import Saved


class Teacher:
    """A model, or a blend of several, whose probabilities a student learns. It is not trained.

    Args:
        network: The model, on the student's device.
        weight: Weight of the teacher's probabilities in the loss, 0 to 1; the rest is the text's.
    """

    def __init__(self, network: Network, weight: float) -> None:
        self.network, self.weight = network.eval().requires_grad_(False), weight

    @classmethod
    def of(cls, saved: Saved, weight: float, device: torch.device) -> "Teacher":
        """Return the teacher that a saved model is, on a device."""
        return cls(network_of(saved).to(device), weight)

    @torch.no_grad()
    def probabilities(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Predict the symbol after each one given.

        Args:
            ids: Symbols, (batch, time) int64.
            state: What an earlier call returned, or None at the start of a text.

        Returns:
            Probabilities (batch, time, vocab_size) in float32, and the state after the last step.
        """
        logits, after = self.network(ids, state)
        return logits.float().softmax(dim=-1), after

    @torch.no_grad()
    def begin(self, values: Tensor, lengths: Tensor) -> State:
        """Return the state before the first symbol of records; see `CharRNN.begin`."""
        return self.network.begin(values, lengths)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first symbol: zeros."""
        return self.network.initial_state(batch)


def distillation_loss(
    log_probs: Tensor, targets: Tensor, teacher: Tensor, weight: float, smoothing: float = 0.0
) -> Tensor:
    """Return the summed loss of a batch in nats; see the equation above.

    Args:
        log_probs: Log probabilities of the student, (batch, time, vocab_size).
        targets: Symbols, (batch, time); `NO_TARGET` marks positions that do not count.
        teacher: Probabilities of the teacher, (batch, time, vocab_size).
        weight: Weight of the teacher.
        smoothing: Label smoothing of the targets; see `CharRNN.loss`.
    """
    left_out = targets == NO_TARGET
    text = functional.nll_loss(
        log_probs.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    if smoothing:
        means = log_probs.mean(dim=-1).masked_fill(left_out, 0.0)
        text = (1 - smoothing) * text - smoothing * means.sum()
    counted = teacher.masked_fill(left_out[..., None], 0.0)
    return (1 - weight) * text - weight * (counted * log_probs).sum()
