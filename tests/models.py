"""Models for tests."""

import torch

from charrnn.model.network import CharRNN


def perturbed(model: CharRNN) -> CharRNN:
    """Change each weight a little, so that none starts where it hides a mistake; return `model`."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model
