"""The Python door: a trained model that generates and scores. Only scoring imports torch."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoints import SavedModel, load_model
from charrnn.config import ModelConfig
from charrnn.corpus import Encoded, encode
from charrnn.errors import TextError
from charrnn.numpy_model import NumpyModel
from charrnn.sampling import SamplingConfig, generate_text, generate_texts, unknown_error
from charrnn.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charrnn.model import CharRNN
    from charrnn.scoring import Score, ScoringProtocol


def load(path: str | Path) -> "Model":
    """Load a trained model.

    Args:
        path: A run folder, or a model file in one.

    Raises:
        ModelFileError: There is none, it is damaged, or it is of another kind or a newer format.
    """
    return Model(load_model(Path(path)))


class Model:
    """A trained model: what it is, what it writes, and how well it predicts.

    Args:
        saved: What a model file holds.
    """

    def __init__(self, saved: SavedModel) -> None:
        self.saved = saved

    @property
    def config(self) -> ModelConfig:
        """The shape of the network."""
        return self.saved.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The text's cut into symbols."""
        return self.saved.tokenizer

    @property
    def about(self) -> dict[str, Any]:
        """What is known of its training: step, validation score, text, settings."""
        return self.saved.about

    @cached_property
    def _sampler(self) -> NumpyModel:
        return NumpyModel(self.config, self.saved.weights)

    def generate(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> str:
        """Return new text after `prompt`, which is not repeated.

        Args:
            prompt: What to go on from; empty begins as a text begins.
            seed: The same seed gives the same text.
            settings: Fields of `SamplingConfig`: length, temperature, top_k, top_p, stop, unknown.

        Raises:
            UsageError: A setting is out of range.
            TextError: The prompt has characters that the model has never seen.
        """
        return "".join(self.stream(prompt, seed=seed, **settings))

    def stream(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> Iterator[str]:
        """Yield the text of `generate` piece by piece, as it is made."""
        return generate_text(self._sampler, self.tokenizer, prompt, SamplingConfig(**settings), seed=seed)

    def generate_many(self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any) -> list[str]:
        """Return `num` texts, drawn side by side; the settings are those of `generate`."""
        return generate_texts(self._sampler, self.tokenizer, prompt, SamplingConfig(**settings), seed=seed, num=num)

    def score(
        self,
        text: str,
        *,
        protocol: "ScoringProtocol | None" = None,
        unknown: str = "charge",
        device: str = "cpu",
        precision: str = "fp32",
    ) -> "Score":
        """Return how well the model predicts `text`.

        Args:
            text: At least one character.
            protocol: How the state runs through it; by default carried from beginning to end.
            unknown: "charge" prices characters that the model has never seen; "error" refuses them.
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.

        Raises:
            TextError: The text is empty, or has unknown characters and `unknown` is "error".
        """
        from charrnn.scoring import ScoringProtocol, evaluate

        encoded = self.encode(text, unknown=unknown)
        model, autocast = self.network(device=device, precision=precision)
        return evaluate(model, self.tokenizer, encoded, protocol or ScoringProtocol.carried(), autocast=autocast)

    def encode(self, text: str, *, unknown: str = "charge") -> Encoded:
        """Return a text as `charrnn.scoring` takes it; the arguments and errors are those of `score`."""
        if not text:
            raise TextError("There is no text to score: it is empty.")
        if unknown == "error" and (strangers := self.tokenizer.unknown_characters(text)):
            raise unknown_error(strangers, "text", "--unknown charge to price them honestly")
        return encode(self.tokenizer, text)

    def network(self, *, device: str = "cpu", precision: str = "fp32") -> "tuple[CharRNN, Callable[[], Any]]":
        """Return a new torch model with these weights, and what makes the context for it to run in.

        Args:
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.
        """
        import torch

        from charrnn.machine import autocast, choose_device, choose_precision
        from charrnn.model import CharRNN

        place = choose_device(device)
        kind = choose_precision(precision, place)
        model = CharRNN(self.config)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in self.saved.weights.items()})
        return model.eval().to(place), lambda: autocast(kind, place)
