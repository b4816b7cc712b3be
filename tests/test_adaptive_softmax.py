"""The adaptive softmax, against torch's own and against its definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from charrnn.config.model import ModelConfig
from charrnn.errors import UsageError
from charrnn.model.adaptive_softmax import Tail
from charrnn.model.network import CharRNN, build
from charrnn.model.shapes import parameter_count, tails

CONFIG = ModelConfig(vocab_size=40, hidden_size=12, embedding_size=6, num_layers=1, adaptive=True)


def with_weights(config: ModelConfig = CONFIG) -> CharRNN:
    """A float64 model in which every weight, biases too, makes a difference."""
    model = build(config, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(
                torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
                )
            )
    return model


VALUES = torch.randn(3, 50, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
TARGETS = torch.randint(0, 40, (3, 50), generator=torch.Generator().manual_seed(6))


def test_probabilities_sum_to_one() -> None:
    assert tails(CONFIG) == [(5, 20, 6), (20, 40, 3)]
    logits = with_weights().logits(VALUES)
    assert logits.shape == (3, 50, 40)
    assert torch.allclose(logits.exp().sum(-1), torch.ones(3, 50, dtype=logits.dtype), atol=1e-5)


def test_they_are_those_of_torchs_adaptive_softmax() -> None:
    """Torch's has no biases in its tails, so ours are zero here."""
    ours = with_weights()
    rival = nn.AdaptiveLogSoftmaxWithLoss(12, 40, [5, 20], div_value=2.0, head_bias=True).double()
    assert ours.head_weight is not None
    with torch.no_grad():
        rival.head.weight.copy_(ours.head_weight)
        rival.head.bias.copy_(ours.head_bias)
        for part, (project, weight) in zip(ours.tails, rival.tail, strict=True):
            assert isinstance(part, Tail)
            part.bias.zero_()
            project.weight.copy_(part.project)
            weight.weight.copy_(part.weight)
    torch.testing.assert_close(
        ours.logits(VALUES).flatten(0, 1).double(),
        rival.log_prob(VALUES.flatten(0, 1)),
        rtol=1e-5,
        atol=1e-5,
    )
    expected = rival(VALUES.flatten(0, 1), TARGETS.flatten()).loss
    torch.testing.assert_close(
        ours.loss(VALUES, TARGETS).double() / TARGETS.numel(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("low", [0, 5, 20], ids=["all", "tails only", "the last tail only"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
def test_the_loss_and_its_gradient_are_those_of_the_whole_prediction(
    low: int, adaptive: bool
) -> None:
    config = ModelConfig(**CONFIG.to_dict() | {"adaptive": adaptive})
    targets, results = TARGETS.clamp(min=low), []
    for way in ("loss", "logits"):
        model = with_weights(config)
        if way == "loss":
            loss = model.loss(VALUES, targets)
        else:
            logits = model.logits(VALUES)
            normalised = logits if adaptive else logits.log_softmax(-1)
            loss = -normalised.gather(-1, targets[..., None]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {
            name: p.grad
            for name, p in model.named_parameters()
            if p.grad is not None and p.grad.any()
        }
        results.append((loss.double(), gradients))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_a_smoothed_target_is_a_mixture_with_equal_probabilities(smoothing: float) -> None:
    model = with_weights(replace(CONFIG, adaptive=False))
    predicted = model.logits(VALUES).log_softmax(-1).detach().double().numpy()
    wanted = np.full(predicted.shape, smoothing / predicted.shape[-1])
    for place in np.ndindex(*TARGETS.shape):
        wanted[(*place, int(TARGETS[place]))] += 1 - smoothing
    loss = model.loss(VALUES, TARGETS, smoothing).item()
    assert loss == pytest.approx(-(wanted * predicted).sum(), rel=1e-5)


def test_a_large_vocabulary_takes_fewer_weights() -> None:
    plain, adaptive = (
        ModelConfig(vocab_size=30_000, adaptive=adaptive) for adaptive in (False, True)
    )
    assert parameter_count(plain) - parameter_count(adaptive) > 3_000_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": True, "embedding_size": 12}, "`adaptive` cannot be used with `tied`"),
        ({"vocab_size": 7}, "`adaptive` needs at least 8 symbols, and there are 7"),
    ],
    ids=["tied", "small"],
)
def test_what_does_not_go_with_it_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig(**CONFIG.to_dict() | settings)
