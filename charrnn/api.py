"""The Python API: train and load models, generate text, and measure how well they predict.

Only training and scoring import torch.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.config.sampling import DRAWING_FIELDS, SamplingConfig
from charrnn.data.encoding import Encoded, encode_text, refuse_unknown
from charrnn.data.formats import TextFormat, saved_format
from charrnn.data.sources import reader_of
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import TextError, UsageError, counted
from charrnn.evaluation.score import Score, ScoringProtocol
from charrnn.model.shapes import describe_shapes
from charrnn.runtime.machine import check_address_space
from charrnn.sampling.beam_search import search
from charrnn.sampling.generate import GenerationRequest, Generator, Sample
from charrnn.sampling.records import generate_records
from charrnn.sampling.sources import with_source
from charrnn.storage.blend import Saved, numpy_model, open_model
from charrnn.storage.model_file import about_part
from charrnn.training.events import RunEvent
from charrnn.training.request import TrainRequest
from charrnn.training.train import training_events

if TYPE_CHECKING:
    from charrnn.evaluation.gradient_flow import GradientFlow
    from charrnn.evaluation.scorer import Scorer


def train(
    texts: str | Path | Iterable[str | Path],
    *,
    should_stop: Callable[[], int | None] = lambda: None,
    on_progress: OnProgress = no_progress,
    **options: Any,
) -> Iterator[RunEvent]:
    """Train a model on a text or continue an interrupted run, as `charrnn train` does.

    Nothing happens until the first event is requested.

    Args:
        texts: Files or folders.
        should_stop: Called after every step and during evaluations; a signal's number as its result
            saves and ends the run.
        on_progress: Called while the text is read, with a label, how much is done, and the total.
        options: Fields of `TrainRequest`, `TrainConfig` and `ModelConfig`, such as `out`,
            `seconds`, `preset`, `valid`, `hidden_size` or `lr`.

    Yields:
        The events of the run; see `charrnn.training.events`.

    Raises:
        CharRNNError: See `charrnn.training.train`.
    """
    request = TrainRequest.of(texts, options)
    request.refuse_ignored()
    yield from training_events(request, should_stop=should_stop, on_progress=on_progress)


def load(path: str | Path, weights: Sequence[float] = (), blend: str | None = None) -> "Model":
    """Load a trained model, or a blend of several.

    Args:
        path: A run folder or a model file; for a blend, several joined by a plus: "a+b".
        weights: The weights of a blend's members, which are equal if there are none.
        blend: The mean of probabilities ("linear", the default) or of their logs ("geometric").

    Raises:
        ModelFileError: There is no model there, it is damaged, or its format is unknown or newer.
        UsageError: The models cannot be blended.
    """
    return Model(open_model(path, weights=weights, blend=blend))


class Model:
    """A trained model, or a blend of several, which generates text and scores it.

    Args:
        saved: The content of a model file, or of several.

    Attributes:
        config: The shape of the network; of a blend, that of its first member.
        tokenizer: The tokenizer that the model was trained with.
        about: Facts about its training: step, validation score, text, settings.
        format: How its training text was organised. A model trained on records generates one record
            or part of one at a time, and scores each record from zero state.
    """

    def __init__(self, saved: Saved) -> None:
        self.saved, self.tokenizer, self.about = saved, saved.tokenizer, saved.about
        self.config = saved.members[0].config
        self.format: TextFormat = saved_format(saved.about)

    def __repr__(self) -> str:
        facts = about_part(self.about, "text")
        shape = describe_shapes(one.config for one in self.saved.members)
        name = f", trained on {facts.get('name')!r}" if facts else ""
        kind = f"{self.tokenizer.kind} tokenizer of {counted(self.tokenizer.size, 'symbol')}"
        return f"<charrnn.Model {shape}, {kind}{name}>"

    @cached_property
    def generator(self) -> Generator:
        """The model as a text generator, one symbol after the other, on the CPU."""
        return Generator(numpy_model(self.saved), self.tokenizer, self.format.separator)

    def given(self, source: str, *, unknown: str = "error") -> "Model":
        """Return this model for one source: a text, a label, a mixture of labels, or a path.

        Errors: see `charrnn.data.sources`.
        """
        values, model = reader_of(self.saved).read(source, unknown), Model(self.saved)
        model.generator = with_source(self.generator, values)
        return model

    def generate(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> str:
        """Return new text that continues `prompt`, without the prompt itself.

        Args:
            prompt: The text to continue; empty starts at the beginning of a text.
            seed: The same seed gives the same text.
            settings: Fields of `SamplingConfig`: length, temperature, top_k, top_p, min_p,
                no_repeat, stop, until, unknown.

        Raises:
            UsageError: A setting is out of range.
            TextError: The prompt has characters that the model does not know.
        """
        return "".join(self.stream(prompt, seed=seed, **settings))

    def stream(self, prompt: str = "", *, seed: int = 0, **settings: Any) -> Iterator[str]:
        """Yield the text of `generate` in pieces, in constant memory."""
        return next(self.stream_many(prompt, num=1, seed=seed, **settings))

    def stream_many(
        self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any
    ) -> Iterator[Iterator[str]]:
        """Yield `num` texts, each in pieces and to be read before the next; see `stream`.

        The first is the text that `stream` yields.
        """
        return self._request(prompt, settings, seed=seed, num=num).texts()

    def generate_many(
        self, prompt: str = "", *, num: int, seed: int = 0, **settings: Any
    ) -> list[str]:
        """Return `num` texts with the settings of `generate`, which returns the first of them."""
        texts = self.stream_many(prompt, num=num, seed=seed, **settings)
        return ["".join(pieces) for pieces in texts]

    def samples(
        self, prompt: str = "", *, num: int = 1, seed: int = 0, **settings: Any
    ) -> Iterator[Sample]:
        """Yield the texts of `generate_many`, each with its symbols and their log probabilities."""
        return self._request(prompt, settings, seed=seed, num=num).all_samples()

    def search(self, prompt: str = "", *, beam: int, num: int = 1, **settings: Any) -> list[Sample]:
        """Return the `num` best texts of a beam search, by mean log probability per symbol.

        Args:
            prompt: The text to continue.
            beam: Number of texts that are kept at each step, 1 to 1,024.
            num: Number of texts to return, 1 to `beam`.
            settings: length, no_repeat, stop, until and unknown, as in `generate`.

        Raises:
            UsageError: A setting is out of range, or applies only to random sampling.
            TextError: The prompt has characters that the model does not know.
        """
        if drawing := [name for name in settings if name in DRAWING_FIELDS]:
            message = f"`beam` draws nothing, so `{drawing[0]}` cannot be used with it."
            raise UsageError(message, "Leave one out.")
        return search(self.generator, prompt, SamplingConfig.of(settings), beam=beam, num=num)

    def records(
        self,
        prompt: str = "",
        *,
        num: int,
        seed: int = 0,
        known: Container[str] = (),
        **settings: Any,
    ) -> Iterator[str]:
        """Yield `num` whole records that start with `prompt`, without their separator.

        The prompt is part of each record. Arguments and errors are those of `record_samples`.
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
        """Yield what follows `prompt` in `num` records, with symbols and their log probabilities.

        Args:
            prompt: The beginning of each record; empty leaves it to the model.
            num: At least 1. Fewer are yielded if nearly all records that the model writes are in
                `known`.
            seed: The same seed gives the same records.
            known: Records to leave out, such as those of the training text.
            settings: As for `generate`; `length` is the limit for one record.

        Raises:
            UsageError: The model was not trained on records, the prompt is longer than one record,
                or a setting is out of range.
            TextError: The prompt has characters that the model does not know.
        """
        if self.format.separator is None:
            hint = "Train one with `records` lines."
            raise UsageError("This model was not trained on records.", hint)
        config = SamplingConfig.of(settings)
        return generate_records(self.generator, prompt, config, seed=seed, num=num, known=known)

    def _request(
        self, prompt: str, settings: dict[str, Any], *, seed: int, num: int
    ) -> GenerationRequest:
        config = SamplingConfig.of(settings)
        return GenerationRequest(self.generator, prompt, config, seed=seed, num=num)

    def score(
        self,
        text: str | Encoded,
        *,
        protocol: ScoringProtocol | None = None,
        unknown: str = "charge",
        device: str = "cpu",
        precision: str = "fp32",
    ) -> Score:
        """Return how well the model predicts `text`.

        Args:
            text: At least one character; or ids, for a text of any size (see
                `charrnn.data.id_cache.encode_to_tempfile`).
            protocol: How the state is carried or reset; by default carried through the whole text,
                or reset at each record.
            unknown: "charge" gives unknown characters a probability, "error" refuses them. It has
                no effect on ids; for those, see `charrnn.data.encoding.refuse_unknown`.
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.

        Raises:
            TextError: The text is empty, or has unknown characters and `unknown` is "error".
        """
        encoded = text if isinstance(text, Encoded) else self.encode(text, unknown=unknown)
        return self.scorer(device=device, precision=precision).score(encoded, protocol).score

    def encode(self, text: str, *, unknown: str = "charge") -> Encoded:
        """Return a text as ids; arguments and errors are those of `score`."""
        if not isinstance(text, str):
            kind = type(text).__name__
            hint = "Decode bytes first: data.decode()" if isinstance(text, bytes) else ""
            raise UsageError(f"The text must be a string or ids, not of type {kind}.", hint)
        if not text:
            raise TextError("There is no text to score: it is empty.")
        if unknown == "error":
            refuse_unknown(self.tokenizer, [text], "text")
        return encode_text(self.tokenizer, text, self.format)

    def gradient_flow(self, text: str | Encoded, *, lags: int = 200) -> "GradientFlow":
        """Return how far back the model's gradients reach on `text`.

        Args:
            text: At least `lags` + 1 symbols, or for records at least one of `lags` symbols; or
                ids, for a text of any size (see `charrnn.data.id_cache.encode_to_tempfile`).
            lags: Time steps to look back, 1 to 10,000.

        Raises:
            UsageError: `lags` is out of range.
            TextError: The text is too short.
        """
        encoded = text if isinstance(text, Encoded) else self.encode(text)
        return self.scorer().gradient_flow(encoded, lags)

    def scorer(
        self, *, device: str = "cpu", precision: str = "fp32", threads: int | None = None
    ) -> "Scorer":
        """Return a scorer: this model in torch, ready to score texts.

        Args:
            device: Where to compute: auto, cpu, cuda or mps.
            precision: Number format: auto, fp32, bf16 or fp16.
            threads: CPU threads; None is torch's default.
        """
        check_address_space()
        from charrnn.evaluation.scorer import Scorer

        return Scorer(self.saved, device=device, precision=precision, threads=threads)
