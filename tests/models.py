"""Models for tests."""

from typing import Any

import torch

from charrnn.config.model import ModelConfig
from charrnn.model.network import CharRNN, build
from charrnn.storage.model_file import SavedModel
from charrnn.tokenizers import Tokenizer

SMALL: dict[str, Any] = {"cell": "lstm", "num_layers": 1, "hidden_size": 8, "embedding_size": 4}


def perturbed(model: CharRNN) -> CharRNN:
    """Change each weight a little, so that none starts where it hides a mistake; return `model`."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def saved(tokenizer: Tokenizer, about: dict[str, Any] | None = None, **settings: Any) -> SavedModel:
    """Return a model that was not trained, with the weights of `perturbed`."""
    config = ModelConfig(vocab_size=tokenizer.size, **SMALL | settings)
    network = perturbed(build(config, seed=tokenizer.size + config.hidden_size))
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return SavedModel(config, tokenizer, weights, about or {}, f"{config.hidden_size:064x}")
