"""What a page shows, gathered from a model, a text and the folder of the run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import saved_format
from charrnn.data.sources import refuse_sources
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.model_score import open_scorer
from charrnn.evaluation.report import Evaluation, ScoreReport
from charrnn.evaluation.scored_text import held_out_text
from charrnn.evaluation.units import NamedUnit, named_units
from charrnn.export.page.measured import (
    Excerpt,
    Line,
    Rounding,
    make_excerpt,
    measure_memory,
    measure_rounding,
    surprising_lines,
    write_excerpt,
)
from charrnn.export.page.request import PageRequest
from charrnn.export.page.weights import (
    FORMATS,
    TABLE_STEPS,
    Array,
    Packed,
    largest_size,
    pack,
    row_use,
)
from charrnn.model.shapes import TABLES, describe_size
from charrnn.storage.blend import numpy_model
from charrnn.storage.blend_name import refuse_blend
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer

MAX_SIZE = 50_000_000  # characters that the weights may take
MAX_PREFIX = 60_000  # characters of the text that are looked at closely
MAX_SAMPLES = 50  # of the training; a run with `sample_every` may have kept many more
# Bits per character, above which tables have finer steps, and then a page says how to have less.
MAX_ROUNDING = 0.01
NO_TEXT = "No text is named, and what the run held out is not kept: the page has no score."


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        name: The model's name.
        prompt: The prompt that the page begins with.
        saved: The model.
        packed: Its weights in the page's number format.
        format: That number format.
        rounding: What that costs.
        excerpt: The text that the page begins with.
        memory: How much each symbol of the excerpt depends on those before it, (symbols, lags), as
            fractions of 255 of the greatest value of its row.
        units: Units that follow something.
        report: The score of the text, if there is one.
        text_notes: Messages about that text.
        lines: The most surprising lines of the text's beginning.
        lines_of: Characters among which those were looked for.
        metrics: The run's metrics log; empty if the model is not in a run's folder.
        samples: What the model wrote during training, {"step", "text"} each.
    """

    name: str
    prompt: str
    saved: SavedModel
    packed: dict[str, Packed]
    format: str
    rounding: Rounding
    excerpt: Excerpt
    memory: npt.NDArray[np.uint8]
    units: list[NamedUnit]
    report: ScoreReport | None
    text_notes: tuple[str, ...]
    lines: list[Line]
    lines_of: int
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""
        notes = (*self.text_notes, *self.report.notes) if self.report else (NO_TEXT,)
        if not self.metrics:
            notes += ("No metrics.jsonl is beside the model, so the page has no curves.",)
        if self.rounding.bits_per_char > MAX_ROUNDING:
            notes += ("`weights` fp16 makes a larger page, with next to no rounding.",)
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
    evaluation = _evaluation(request, on_progress)
    report = evaluation.report() if evaluation else None
    text = _prefix(evaluation) if evaluation else write_excerpt(saved, text_format)
    scorer = open_scorer(saved, request.options)
    encoded = encode_text(saved.tokenizer, text, text_format)
    packed, rounding = _packed(request, saved, scorer, encoded)
    rounded = _unpacked(saved, packed)
    excerpt, ids = make_excerpt(rounded, text, text_format, _source(request, evaluation))
    metrics, samples = read_run(request.model)
    return Contents(
        name=request.name,
        prompt=request.prompt,
        saved=saved,
        packed=packed,
        format=request.weights,
        rounding=rounding,
        excerpt=excerpt,
        memory=measure_memory(scorer, ids),
        units=named_units(numpy_model(saved), saved.tokenizer, encoded) if report else [],
        report=report,
        text_notes=evaluation.found.notes if evaluation else (),
        lines=surprising_lines(scorer, text, text_format) if report else [],
        lines_of=len(text),
        metrics=metrics,
        samples=samples,
    )


def check_size(saved: SavedModel, number_format: str) -> None:
    """Raise `UsageError` if a model's weights are too large for a page."""
    size = largest_size(saved.weights, number_format)
    if size <= MAX_SIZE:
        return
    raise UsageError(
        f"The model has {describe_size(saved.config)}, which take "
        f"{size / 1e6:,.0f} MB of a page as `weights` {number_format}; a page holds up to "
        f"{MAX_SIZE / 1e6:,.0f} MB.",
        _format_that_fits(saved),
    )


def _format_that_fits(saved: SavedModel) -> str:
    """Return what to do about a model that is too large."""
    fits = (one for one in FORMATS if largest_size(saved.weights, one) <= MAX_SIZE)
    found = next(fits, None)
    return f"Give `weights` {found}." if found else "Train a smaller model for a page."


def _evaluation(request: PageRequest, on_progress: OnProgress) -> Evaluation | None:
    """Return the evaluation of the text, or of what the run held out if that is kept."""
    evaluation = Evaluation(request.evaluation(), on_progress)
    try:
        evaluation.found  # noqa: B018 - reads the text
    except TextError:
        if request.texts:
            raise
        return None
    return evaluation


def _packed(
    request: PageRequest, saved: SavedModel, scorer: "Scorer", text: Encoded
) -> tuple[dict[str, Packed], Rounding]:
    """Return the weights, tables as coarse as a text allows, and what that costs."""
    use, own = _use(request, saved), scorer.score(text).score
    for step in TABLE_STEPS if _rounds_tables(request, saved) else TABLE_STEPS[:1]:
        packed = pack(saved.weights, request.weights, use, step)
        rounded = open_scorer(_unpacked(saved, packed), request.options)
        rounding = measure_rounding(own, rounded, text)
        if rounding.bits_per_char <= MAX_ROUNDING:
            break
    return packed, rounding


def _unpacked(saved: SavedModel, packed: dict[str, Packed]) -> SavedModel:
    """Return a model with the weights of its page."""
    return replace(saved, weights={name: one.values for name, one in packed.items()})


def _rounds_tables(request: PageRequest, saved: SavedModel) -> bool:
    return TABLES in saved.weights and request.weights == "int8"


def _use(request: PageRequest, saved: SavedModel) -> Array | None:
    """Return how often the rows of the tables are read in training, if that is to be known."""
    if not _rounds_tables(request, saved):
        return None
    try:
        return row_use(saved.config, held_out_text(request.model, saved).train)
    except TextError:
        return None


def _prefix(evaluation: Evaluation) -> str:
    """Return the beginning of the text that is scored, without blank records."""
    encoded = evaluation.found.encode(evaluation.saved)
    text = evaluation.saved.tokenizer.decode(encoded.ids[:MAX_PREFIX])[:MAX_PREFIX]
    separator = evaluation.format.separator
    end = len(text) if separator is None else text.rfind(separator) + len(separator)
    return text[: end or len(text)]


def _source(request: PageRequest, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "A text that the model has written."
    if not request.texts:
        return f"The beginning of {evaluation.found.name}."
    names = ", ".join(Path(one).name if one != "-" else "standard input" for one in request.texts)
    fraction = request.options.valid_fraction
    held_out = "" if fraction is None else f"the held-out {fraction:g} of "
    return f"The beginning of {held_out}{names}."


def read_run(model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the metrics log and the samples beside a model; both are empty if there are none."""
    folder = RunFolder.of_model(model)
    samples = [
        one
        for one in folder.samples.read()
        if isinstance(one.get("step"), int) and isinstance(one.get("text"), str)
    ]
    return folder.metrics.read(), samples[:: -(-len(samples) // MAX_SAMPLES) or 1]
