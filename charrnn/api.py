"""The Python door: a trained model that generates and scores. Only scoring imports torch."""

from collections.abc import Container, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoints import SavedModel, load_model
from charrnn.config import ModelConfig
from charrnn.errors import TextError, UsageError
from charrnn.numpy_model import NumpyModel
from charrnn.record_sampling import generate_records
from charrnn.records import encode_text, saved_separator
from charrnn.sampling import SamplingConfig, generate_text, generate_texts, unknown_error
from charrnn.tokenizers import Tokenizer

if TYPE_CHECKING:
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

    Attributes:
        separator: What ends a record, if the model was trained on records: it then writes one record, and scores each
            from a state of zero.
    """

    def __init__(self, saved: SavedModel) -> None:
        self.saved = saved
        self.separator = saved_separator(saved.about)

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
        return generate_text(self._sampler, self.tokenizer, prompt, self._rules(settings), seed=seed)

    def generate_many(self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any) -> list[str]:
        """Return `num` texts, drawn side by side; the settings are those of `generate`."""
        return generate_texts(self._sampler, self.tokenizer, prompt, self._rules(settings), seed=seed, num=num)

    def records(
        self, prompt: str = "", *, num: int, seed: int = 0, known: Container[str] = (), **settings: Any
    ) -> Iterator[str]:
        """Yield `num` whole records that begin with `prompt`, which is part of them; their separator is not.

        Args:
            prompt: How each begins; empty leaves it to the model.
            num: At least 1. Fewer come if nearly all that the model writes is known.
            seed: The same seed gives the same records.
            known: Records that are left out, such as those of the training text.
            settings: As for `generate`; `length` is the limit for one record.

        Raises:
            UsageError: The model was not trained on records, the prompt goes beyond one, or a setting is out of range.
            TextError: The prompt has characters that the model has never seen.
        """
        if self.separator is None:
            raise UsageError("This model was not trained on records.", "Train one with --records lines.")
        rules = SamplingConfig(**settings)
        return generate_records(
            self._sampler, self.tokenizer, prompt, rules, separator=self.separator, seed=seed, num=num, known=known
        )

    def _rules(self, settings: dict[str, Any]) -> SamplingConfig:
        """Return the rules; a record ends at its separator if nothing else ends it."""
        return SamplingConfig(**{"stop": self.separator} | settings)

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
            protocol: How the state runs through it; by default carried from beginning to end, or by record.
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
        encoded = encode_text(self.tokenizer, text, self.separator)
        return evaluate(
            self._torch_model().to(place),
            self.tokenizer,
            encoded,
            protocol or ScoringProtocol.of(encoded),
            autocast=lambda: autocast(kind, place),
        )

    def _torch_model(self) -> Any:
        import torch

        from charrnn.model import CharRNN

        model = CharRNN(self.config)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in self.saved.weights.items()})
        return model.eval()
