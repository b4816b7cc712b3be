"""What a run on a GPU comes to, beside the same run on the CPU."""

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from small_runs import read

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit, encode_text
from charrnn.data.formats import RecordFormat
from charrnn.model.network import build
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.storage.model_file import SavedModel
from charrnn.training.trainer import Trainer

# Large enough for the fused kernels, and small enough for a second on a CPU.
SETTINGS: dict[str, Any] = {
    "hidden_size": 64,
    "embedding_size": 32,
    "num_layers": 2,
    "batch_size": 16,
    "seq_len": 32,
    "steps": 12,
    "eval_every": 6,
}
RELATIVE = 1e-4  # largest difference of float32 results
NATS = 0.02  # largest difference of a loss in bfloat16 or float16

WORDS = "the a cat dog bird sat ran flew on to over mat hat house river and where because"


def sentences(count: int = 400) -> str:
    """Return sentences of random words, always the same."""
    generator = random.Random(1)
    lines = (
        " ".join(generator.choices(WORDS.split(), k=generator.randint(2, 12))) + ".\n"
        for _ in range(count)
    )
    return "".join(lines)


def data_of(settings: dict[str, Any]) -> EncodedSplit:
    """Return the sentences as ids; with the setting `records`, each is a record."""
    data = read(sentences())
    if "records" not in settings:
        return data
    lines = RecordFormat("\n")
    train, valid = (encode_text(data.tokenizer, sentences(count), lines) for count in (300, 40))
    return replace(data, format=lines, train=train, valid=valid)


def trainer_on(
    device: str, *, precision: str = "fp32", group: ProcessGroup = ALONE, **settings: Any
) -> Trainer:
    """Return a trainer on a device; it begins with the same weights on each."""
    chosen = SETTINGS | settings
    if (device, precision, chosen.get("cell", "lstm")) == ("cpu", "fp16", "lstm"):
        pytest.skip("torch has no LSTM in float16 for a CPU")
    data = data_of(chosen)
    shape = {
        name: chosen.pop(name) for name in [*chosen] if name in ModelConfig.__dataclass_fields__
    }
    config = TrainConfig(**chosen)
    model = build(ModelConfig(vocab_size=data.tokenizer.size, **shape), config.seed)
    return Trainer(model.to(choose_device(device)), data, config, precision, group)


@dataclass(frozen=True)
class Outcome:
    """What some training steps came to.

    Attributes:
        gradients: Of the first batch, by parameter.
        losses: Of each step.
        norms: Of each step's gradient.
        valid: Nats per token of the validation text after the last step.
    """

    gradients: dict[str, npt.NDArray[np.float32]]
    losses: list[float]
    norms: list[float]
    valid: float


def outcome(trainer: Trainer) -> Outcome:
    """Take all steps."""
    trainer.gradients.backward(trainer.batcher.next_batch(), None)
    scale = trainer.scaler.get_scale()
    gradients = {
        name: dense(parameter.grad).cpu().numpy() / scale
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    trainer.optimizer.zero_grad()
    events = [trainer.train_once() for _ in range(trainer.config.steps)]
    losses, norms = [event.loss for event in events], [event.grad_norm for event in events]
    return Outcome(gradients, losses, norms, evaluated(trainer))


def evaluated(trainer: Trainer) -> float:
    """Return the nats per token of the validation text."""
    event = trainer.evaluate()
    assert event is not None
    return event.score.nats_per_token


def dense(gradient: torch.Tensor) -> torch.Tensor:
    """Return a gradient that may be sparse as a dense tensor."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def assert_close(found: Outcome, expected: Outcome, relative: float = RELATIVE) -> None:
    """Compare losses, norms and gradients; the latter by the norm of their difference."""
    np.testing.assert_allclose(found.losses, expected.losses, rtol=relative)
    np.testing.assert_allclose(found.norms, expected.norms, rtol=10 * relative)
    np.testing.assert_allclose(found.valid, expected.valid, rtol=relative)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        error = distance(found.gradients[name], gradient)
        assert error <= relative, f"{name}: {error}"


def distance(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Return the norm of the difference of two arrays, relative to that of the second."""
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / norm if norm else float(np.abs(found).max())


def saved(trainer: Trainer) -> SavedModel:
    """Return the model as its file holds it."""
    weights = {name: value.cpu().numpy() for name, value in trainer.model.state_dict().items()}
    return SavedModel(trainer.model.config, trainer.data.tokenizer, weights, {})
