"""What a page shows, gathered from a model, a text and the folder of the run."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig
from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import TextFormat, saved_format
from charrnn.data.sources import refuse_sources
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import UsageError
from charrnn.evaluation.model_score import open_scorer
from charrnn.evaluation.report import Evaluation, ScoreReport
from charrnn.evaluation.score import LN2, ScoringProtocol
from charrnn.evaluation.units import NamedUnit, named_units, symbol_ends
from charrnn.export.page.request import PageRequest
from charrnn.export.page.weights import FORMATS, pack, packed_size, unpack
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import describe_size, parameter_count
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.sampling.logits import log_softmax
from charrnn.sampling.records import generate_records
from charrnn.storage.blend_name import refuse_blend
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer

MAX_SIZE = 50_000_000  # characters that the weights may take
MAX_PREFIX = 60_000  # characters of the text that are looked at closely
EXCERPT = 1000  # symbols that the page begins with
LAGS = 64  # symbols that the memory looks back
MEMORY_WORK = 6e10  # weights times symbols; of large models, the memory looks back less
MAX_SAMPLES = 50  # of the training; a run with `sample_every` may have kept many more
LINES, MIN_LINE = 20, 8  # surprising lines that are shown; characters in each, at least


@dataclass(frozen=True)
class Excerpt:
    """The text that a page begins with.

    Attributes:
        text: At least one character.
        source: Where it comes from, in a sentence.
        bits: Of each symbol, as the NumPy model computes them from the page's weights.
    """

    text: str
    source: str
    bits: list[float]


@dataclass(frozen=True)
class Rounding:
    """What the number format of the page's weights costs.

    Attributes:
        bits_per_char: How many more bits per character a text takes than with the model's own
            weights; negative if it takes fewer.
        characters: Length of that text.
    """

    bits_per_char: float
    characters: int


@dataclass(frozen=True)
class Line:
    """A line of the text, its place, counted from 1, and its bits per character."""

    number: int
    text: str
    bits_per_char: float


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        name: The model's name.
        prompt: The prompt that the page begins with.
        saved: The model.
        packed: Its weights; see `charrnn.export.page.weights`.
        format: The number format of the weights.
        rounding: What that costs.
        excerpt: The text that the page begins with.
        memory: How much each symbol of the excerpt depends on those before it, (symbols, lags), as
            fractions of 255 of the greatest value of its row.
        units: Units that follow something.
        report: The score of the text, if there is one.
        lines: The most surprising lines of the text's beginning.
        lines_of: Characters among which those were looked for.
        metrics: The run's metrics log; empty if the model is not in a run's folder.
        samples: What the model wrote during training, {"step", "text"} each.
    """

    name: str
    prompt: str
    saved: SavedModel
    packed: dict[str, dict[str, Any]]
    format: str
    rounding: Rounding
    excerpt: Excerpt
    memory: npt.NDArray[np.uint8]
    units: list[NamedUnit]
    report: ScoreReport | None
    lines: list[Line]
    lines_of: int
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        notes = self.report.notes if self.report else ()
        if not self.metrics:
            notes += ("No metrics.jsonl is beside the model, so the page has no curves.",)
        return notes


def gather(request: PageRequest, on_progress: OnProgress = no_progress) -> Contents:
    """Return what the page that was requested shows.

    Raises:
        UsageError: The model is too large for a page.
        ModelFileError: There is no such model, or it cannot be used.
        TextError: The text cannot be read.
    """
    refuse_blend(request.model, "A page")
    saved = load_model(request.model)
    refuse_sources(saved, "A page")
    check_size(saved, request.weights)
    text_format = saved_format(saved.about)
    packed = pack(saved.weights, request.weights)
    rounded = replace(saved, weights=unpack(packed))
    evaluation = Evaluation(request.evaluation(), on_progress) if request.texts else None
    report = evaluation.report() if evaluation else None
    text = _prefix(evaluation) if evaluation else write_excerpt(saved, text_format)
    scorer = open_scorer(saved, request.options)
    encoded = encode_text(saved.tokenizer, text, text_format)
    excerpt, ids = make_excerpt(rounded, text, text_format, _source(request, text))
    metrics, samples = read_run(request.model)
    return Contents(
        name=request.name,
        prompt=request.prompt,
        saved=saved,
        packed=packed,
        format=request.weights,
        rounding=measure_rounding(scorer, open_scorer(rounded, request.options), encoded),
        excerpt=excerpt,
        memory=measure_memory(scorer, ids),
        units=named_units(_numpy_model(saved), saved.tokenizer, encoded) if report else [],
        report=report,
        lines=surprising_lines(scorer, text, text_format) if report else [],
        lines_of=len(text),
        metrics=metrics,
        samples=samples,
    )


def check_size(saved: SavedModel, number_format: str) -> None:
    """Raise `UsageError` if a model's weights are too large for a page."""
    size = packed_size(saved.weights, number_format)
    if size <= MAX_SIZE:
        return
    fits = [one for one in FORMATS if packed_size(saved.weights, one) <= MAX_SIZE]
    raise UsageError(
        f"The model has {describe_size(saved.config)} parameters, which take "
        f"{size / 1e6:,.0f} MB of a page as `weights` {number_format}; a page holds up to "
        f"{MAX_SIZE / 1e6:,.0f} MB.",
        f"Give `weights` {fits[0]}." if fits else "Train a smaller model for a page.",
    )


def _prefix(evaluation: Evaluation) -> str:
    """Return the beginning of the text that is scored, without blank records."""
    encoded = evaluation.found.encode(evaluation.saved)
    text = evaluation.saved.tokenizer.decode(encoded.ids[:MAX_PREFIX])[:MAX_PREFIX]
    separator = evaluation.format.separator
    end = len(text) if separator is None else text.rfind(separator) + len(separator)
    return text[: end or len(text)]


def _source(request: PageRequest, text: str) -> str:
    if not request.texts:
        return "A text that the model has written."
    names = ", ".join(Path(one).name if one != "-" else "standard input" for one in request.texts)
    fraction = request.options.valid_fraction
    held_out = "" if fraction is None else f"the held-out {fraction:g} of "
    return f"The beginning of {held_out}{names}."


def _numpy_model(saved: SavedModel) -> NumpyModel:
    return NumpyModel(saved.config, saved.weights)


def write_excerpt(saved: SavedModel, text_format: TextFormat) -> str:
    """Return a text that the model writes."""
    separator = text_format.separator
    generator = Generator(_numpy_model(saved), saved.tokenizer, separator)
    rules = SamplingConfig(length=EXCERPT)
    if separator is None:
        request = GenerationRequest(generator, "", rules, seed=1, num=1)
        return "".join(request.pieces(0)) or " "
    records = generate_records(generator, "", rules, seed=1, num=20)
    written = (record.text for record in records)
    return "".join(one + separator for one in written if one.strip()) or f".{separator}"


def make_excerpt(
    rounded: SavedModel, text: str, text_format: TextFormat, source: str
) -> tuple[Excerpt, Encoded]:
    """Return the beginning of a text, as an excerpt and as ids."""
    tokenizer = rounded.tokenizer
    ids = encode_text(tokenizer, text, text_format).ids[:EXCERPT]
    _, ends = symbol_ends(tokenizer, ids)
    beginning = text[: max(1, int(ends[-1]))]
    encoded = encode_text(tokenizer, beginning, text_format)
    unknown_bits = (encoded.ids == tokenizer.unknown) * tokenizer.unknown_nats / LN2
    bits = _serial_bits(_numpy_model(rounded), encoded) + unknown_bits
    return Excerpt(beginning, source, [round(float(one), 7) for one in bits]), encoded


def _serial_bits(model: NumpyModel, text: Encoded) -> npt.NDArray[np.float64]:
    bits = np.zeros(len(text.ids))
    for begin, end in _stretches(text):
        last, state = model.start, model.initial_state(1)
        for place, symbol in enumerate(text.ids[begin:end].tolist(), begin):
            logits, state = model.step(np.array([last]), state)
            bits[place] = -log_softmax(logits)[0, symbol] / LN2
            last = symbol
    return bits


def _stretches(text: Encoded) -> Iterator[tuple[int, int]]:
    """Yield where each stretch of text that is read from the start symbol begins and ends."""
    starts = [0] if text.starts is None else text.starts.tolist()
    yield from zip(starts, [*starts[1:], len(text.ids)], strict=True)


def measure_rounding(own: "Scorer", rounded: "Scorer", text: Encoded) -> Rounding:
    """Score a text with the model's own weights and with the page's."""
    before, after = own.score(text).score, rounded.score(text).score
    return Rounding(after.bits_per_char - before.bits_per_char, text.characters)


def measure_memory(scorer: "Scorer", text: Encoded) -> npt.NDArray[np.uint8]:
    """Return how much each symbol depends on those before it; see `Contents`."""
    from charrnn.evaluation.dependence import input_gradients

    network = scorer.single("A page")
    weights = parameter_count(network.config)
    lags = max(8, min(LAGS, int(MEMORY_WORK / (weights * EXCERPT))))
    norms = [input_gradients(network, text.ids[begin:end], lags) for begin, end in _stretches(text)]
    joined = np.concatenate(norms)
    greatest = joined.max(axis=1, keepdims=True)
    shares = np.divide(joined, greatest, out=np.zeros_like(joined), where=greatest > 0)
    levels: npt.NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8)
    return levels


def surprising_lines(scorer: "Scorer", text: str, text_format: TextFormat) -> list[Line]:
    """Return the lines of a text that take the most bits per character, the worst first."""
    protocol = ScoringProtocol.records() if text_format.separator else ScoringProtocol.carried()
    found, bits, line = list[Line](), 0.0, ""
    for token in scorer.tokens(text, protocol, text_format):
        bits, line = bits + token.bits, line + token.text
        if "\n" in line:
            found.append(Line(len(found) + 1, line.strip(), bits / len(line)))
            bits, line = 0.0, ""
    long = (one for one in found if len(one.text) >= MIN_LINE)
    return sorted(long, key=lambda one: -one.bits_per_char)[:LINES]


def read_run(model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the metrics log and the samples beside a model; both are empty if there are none."""
    folder = RunFolder(model if model.is_dir() else model.parent)
    samples = [
        one
        for one in folder.samples.read()
        if isinstance(one.get("step"), int) and isinstance(one.get("text"), str)
    ]
    return folder.metrics.read(), samples[:: -(-len(samples) // MAX_SAMPLES) or 1]


def memory_data(memory: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return the memory as JSON values."""
    return {"lags": memory.shape[1], "data": base64.b64encode(memory.tobytes()).decode()}
