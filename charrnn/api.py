"""The Python door: a trained model that generates and scores. Only scoring imports torch."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoints import SavedModel, load_model
from charrnn.config import ModelConfig
from charrnn.corpus import encode
from charrnn.errors import TextError
from charrnn.numpy_model import NumpyModel
from charrnn.sampling import SamplingConfig, generate_text, generate_texts, unknown_error
from charrnn.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charrnn.gradients import Reach
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
        from charrnn.machine import autocast, choose_device, choose_precision
        from charrnn.scoring import ScoringProtocol, evaluate

        if not text:
            raise TextError("There is no text to score: it is empty.")
        if unknown == "error" and (strangers := self.tokenizer.unknown_characters(text)):
            raise unknown_error(strangers, "text", "--unknown charge to price them honestly")
        place = choose_device(device)
        kind = choose_precision(precision, place)
        return evaluate(
            self._torch_model().to(place),
            self.tokenizer,
            encode(self.tokenizer, text),
            protocol or ScoringProtocol.carried(),
            autocast=lambda: autocast(kind, place),
        )

    def reach(self, text: str, *, lags: int = 200) -> "Reach":
        """Return how far back the model's gradients reach on `text`.

        Args:
            text: Of at least `lags` + 1 symbols.
            lags: Steps to look back, 1 .. 10,000.

        Raises:
            UsageError: `lags` is out of range.
            TextError: The text is too short.
        """
        from charrnn.gradients import measure_reach

        return measure_reach(self._torch_model(), encode(self.tokenizer, text).ids, lags=lags)

    def _torch_model(self) -> Any:
        import torch

        from charrnn.model import CharRNN

        model = CharRNN(self.config)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in self.saved.weights.items()})
        return model.eval()
