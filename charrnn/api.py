"""The Python door: a trained model that generates and scores. Only scoring imports torch."""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.config.schema import ModelConfig, flag
from charrnn.data.records import encode_text, saved_separator
from charrnn.data.text import Encoded, strangers
from charrnn.errors import TextError, UsageError
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling import (
    DRAWING,
    Sample,
    SamplingConfig,
    check_beginning,
    ending_records,
    generate_records,
    generate_samples,
    generate_text,
    generate_texts,
    search,
    unknown_error,
)
from charrnn.storage.container import SavedModel, load_model
from charrnn.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charrnn.evaluation.gradient_flow import Reach
    from charrnn.evaluation.scoring import Score, ScoringProtocol
    from charrnn.model.network import CharRNN


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
        separator: What ends a record, if the model was trained on records: each text that it writes
            is one then, or ends before, and each that it scores is read from a state of zero.
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
    def sampler(self) -> NumpyModel:
        """The model as it predicts one symbol after the other, on the CPU."""
        return NumpyModel(self.config, self.saved.weights)

    def generate(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> str:
        """Return new text after `prompt`, which is not repeated.

        Args:
            prompt: What to go on from; empty begins as a text begins.
            seed: The same seed gives the same text.
            settings: Fields of `SamplingConfig`: length, temperature, top_k, top_p, min_p,
                no_repeat, stop, until, unknown.

        Raises:
            UsageError: A setting is out of range.
            TextError: The prompt has characters that the model has never seen.
        """
        return "".join(self.stream(prompt, seed=seed, **settings))

    def stream(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> Iterator[str]:
        """Yield the text of `generate` piece by piece, as it is made.

        Memory does not grow with its length.
        """
        config = self._rules(prompt, settings)
        return generate_text(self.sampler, self.tokenizer, prompt, config, seed=seed)

    def stream_many(
        self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any
    ) -> Iterator[Iterator[str]]:
        """Yield `num` texts, each in pieces, to be read one after the other.

        The first is that of `stream`.
        """
        config = self._rules(prompt, settings)
        return generate_texts(self.sampler, self.tokenizer, prompt, config, seed=seed, num=num)

    def generate_many(
        self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any
    ) -> list[str]:
        """Return `num` texts, of which the first is that of `generate`.

        The settings are its too.
        """
        return [
            "".join(pieces) for pieces in self.stream_many(prompt, num=num, seed=seed, **settings)
        ]

    def samples(
        self, prompt: str = "", *, num: int = 1, seed: int = 0, **settings: Any
    ) -> Iterator[Sample]:
        """Yield the texts of `generate_many`, each with its symbols and their log probabilities."""
        config = self._rules(prompt, settings)
        return generate_samples(self.sampler, self.tokenizer, prompt, config, seed=seed, num=num)

    def search(self, prompt: str = "", *, beam: int, num: int = 1, **settings: Any) -> list[Sample]:
        """Return the `num` likeliest texts that a beam search finds, the likeliest per symbol first; no chance in it.

        Args:
            prompt: What to go on from.
            beam: Texts that are followed at once, 1 to 1,024.
            num: 1 to `beam`.
            settings: length, no_repeat, stop, until and unknown, as in `generate`.

        Raises:
            UsageError: A setting is out of range, or is about drawing.
            TextError: The prompt has characters that the model has never seen.
        """
        for name in settings:
            if name in DRAWING:
                raise UsageError(
                    f"--beam looks for the likeliest text and draws nothing: {flag(name)} has no meaning with it."
                )
        return search(
            self.sampler, self.tokenizer, prompt, self._rules(prompt, settings), beam=beam, num=num
        )

    def records(
        self,
        prompt: str = "",
        *,
        num: int,
        seed: int = 0,
        known: Container[str] = (),
        **settings: Any,
    ) -> Iterator[str]:
        """Yield `num` whole records that begin with `prompt`, which is part of them.

        Their separator is not.

        The arguments and errors are those of `record_samples`.
        """
        samples = self.record_samples(prompt, num=num, seed=seed, known=known, **settings)
        return (prompt + sample.text for sample in samples)

    def record_samples(
        self,
        prompt: str = "",
        *,
        num: int,
        seed: int = 0,
        known: Container[str] = (),
        **settings: Any,
    ) -> Iterator[Sample]:
        """Yield what follows `prompt` in `num` records, each with its symbols and their log probabilities.

        Args:
            prompt: How each begins; empty leaves it to the model.
            num: At least 1. Fewer come if nearly all that the model writes is known.
            seed: The same seed gives the same records.
            known: Records that are left out, such as those of the training text.
            settings: As for `generate`; `length` is the limit for one record.

        Raises:
            UsageError: The model was not trained on records, the prompt goes beyond one, or a
                setting is out of range.
            TextError: The prompt has characters that the model has never seen.
        """
        if self.separator is None:
            raise UsageError(
                "This model was not trained on records.", "Train one with --records lines."
            )
        config, end = SamplingConfig(**settings), self.separator
        return generate_records(
            self.sampler,
            self.tokenizer,
            prompt,
            config,
            separator=end,
            seed=seed,
            num=num,
            known=known,
        )

    def score(
        self,
        text: str | Encoded,
        *,
        protocol: "ScoringProtocol | None" = None,
        unknown: str = "charge",
        device: str = "cpu",
        precision: str = "fp32",
    ) -> "Score":
        """Return how well the model predicts `text`.

        Args:
            text: At least one character; or its ids, for a text of any size (see
                `charrnn.data.id_cache.encode_once`).
            protocol: How the state runs through it; by default carried from beginning to end, or by
                record.
            unknown: "charge" prices characters that the model has never seen; "error" refuses them,
                but for ids, where they can no longer be named: see `refuse_strangers`.
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.

        Raises:
            TextError: The text is empty, or has unknown characters and `unknown` is "error".
        """
        from charrnn.evaluation.scoring import ScoringProtocol, evaluate

        encoded = self.encode(text, unknown=unknown) if isinstance(text, str) else text
        model, autocast = self.network(device=device, precision=precision)
        return evaluate(
            model,
            self.tokenizer,
            encoded,
            protocol or ScoringProtocol.of(encoded),
            autocast=autocast,
        )

    def encode(self, text: str, *, unknown: str = "charge") -> Encoded:
        """Return a text as `charrnn.evaluation.scoring` takes it.

        The arguments and errors are those of `score`.
        """
        if not text:
            raise TextError("There is no text to score: it is empty.")
        if unknown == "error":
            self.refuse_strangers([text])
        return encode_text(self.tokenizer, text, self.separator)

    def reach(self, text: str | Encoded, *, lags: int = 200) -> "Reach":
        """Return how far back the model's gradients reach on `text`.

        Args:
            text: Of at least `lags` + 1 symbols, or with a record of `lags`; or its ids, for a text
                of any size (see `charrnn.data.id_cache.encode_once`).
            lags: Steps to look back, 1 .. 10,000.

        Raises:
            UsageError: `lags` is out of range.
            TextError: The text is too short.
        """
        from charrnn.evaluation.gradient_flow import measure_reach

        encoded = (
            encode_text(self.tokenizer, text, self.separator) if isinstance(text, str) else text
        )
        return measure_reach(self.network()[0], encoded.ids, encoded.starts, lags=lags)

    def refuse_strangers(self, chunks: Iterable[str]) -> None:
        """Raise `TextError` if a text has characters that the model has never seen."""
        if unknown := strangers(self.tokenizer, chunks):
            raise unknown_error(unknown, "text", "--unknown charge to price them honestly")

    def _rules(self, prompt: str, settings: dict[str, Any]) -> SamplingConfig:
        """Return the rules by which a text is written after `prompt`."""
        check_beginning(prompt, self.separator)
        return ending_records(SamplingConfig(**settings), self.separator)

    def network(
        self, *, device: str = "cpu", precision: str = "fp32"
    ) -> "tuple[CharRNN, Callable[[], Any]]":
        """Return a new torch model with these weights, and what makes the context for it to run in.

        Args:
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.
        """
        import torch

        from charrnn.model.network import CharRNN
        from charrnn.runtime.device import autocast, choose_device, choose_precision

        place = choose_device(device)
        kind = choose_precision(precision, place)
        model = CharRNN(self.config)
        model.load_state_dict(
            {name: torch.from_numpy(value) for name, value in self.saved.weights.items()}
        )
        return model.eval().to(place), lambda: autocast(kind, place)
