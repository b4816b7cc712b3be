"""Scores of several models side by side on one text."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.data.formats import PLAIN, TextFormat, saved_format
from charrnn.data.split import TextPart
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import ModelFileError, UsageError
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.report import (
    ScoredText,
    baseline_scores,
    encode_part,
    open_scorer,
    read_scored,
)
from charrnn.evaluation.request import ScoreOptions
from charrnn.evaluation.score import Score, ScoringProtocol
from charrnn.model.shapes import parameter_count
from charrnn.storage.model_file import SavedModel, load_model

WARM_UP = 1000  # tokens that are scored before the time is measured


@dataclass(frozen=True)
class ComparedModel:
    """One model's row of a comparison.

    Attributes:
        name: The model's name, as it was given.
        parameters: Number of its parameters.
        tokenizer: Kind of its tokenizer.
        score: Its score of the text.
        seconds: How long scoring took.
        signature: Everything that the score depends on.
    """

    name: str
    parameters: int
    tokenizer: str
    score: Score
    seconds: float
    signature: str

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "model": self.name,
            "parameters": self.parameters,
            "tokenizer": self.tokenizer,
            "tokens_per_char": self.score.tokens / self.score.characters,
            **self.score.to_dict(),
            "chars_per_second": self.score.characters / self.seconds,
            "signature": self.signature,
        }


@dataclass(frozen=True)
class Comparison:
    """Models and baselines side by side."""

    models: list[ComparedModel]
    baselines: list[BaselineScore]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonInputs:
    """The models to compare, by the names that were given, and the text."""

    models: list[tuple[str, SavedModel]]
    found: ScoredText


def read_comparison(
    names: Sequence[str],
    text: str,
    options: ScoreOptions,
    on_progress: OnProgress = no_progress,
) -> ComparisonInputs:
    """Load the models and read the text, before time is spent on scoring.

    Args:
        names: Run folders or model files.
        text: The text's path.
        options: What to score and how.
        on_progress: Called while the text is read.

    Raises:
        CharRNNError: A model or the text cannot be read, or they cannot be used together.
    """
    models = [(name, load_named(name)) for name in names]
    formats = [saved_format(saved.about) for _, saved in models]
    found = read_scored([text], options, common_format(formats, options), on_progress)
    return ComparisonInputs(models, found)


def compare_models(inputs: ComparisonInputs, options: ScoreOptions) -> Comparison:
    """Score models side by side."""
    found = inputs.found
    rows = [score_model(name, saved, found, options) for name, saved in inputs.models]
    costs, notes = baseline_scores(found, options.baselines)
    return Comparison(rows, costs, notes)


def common_format(formats: Sequence[TextFormat], options: ScoreOptions) -> TextFormat:
    """Return the format of the models' texts, or plain text if the formats differ.

    Raises:
        UsageError: They differ, so the models held out different parts of a text, but only the
            held-out part is to be scored.
    """
    if all(one == formats[0] for one in formats):
        return formats[0]
    if options.valid_fraction is not None:
        raise UsageError(
            "`valid_fraction` selects another part of the text for a model of records than for one "
            "of plain text.",
            "Give the held-out text as a separate file.",
        )
    return PLAIN


def load_named(name: str) -> SavedModel:
    """Load one of several models.

    Raises:
        ModelFileError: It cannot be loaded; the message names it.
    """
    try:
        return load_model(Path(name))
    except ModelFileError as error:
        error.hint = error.hint or "All arguments but the last are models."
        raise


def score_model(
    name: str, saved: SavedModel, found: ScoredText, options: ScoreOptions
) -> ComparedModel:
    """Score one model, and measure the time after a warm-up."""
    text, text_format = found.text, saved_format(saved.about)
    part = text if text.format == text_format else TextPart.whole(text.text, text_format)
    encoded = encode_part(saved, part)
    scorer = open_scorer(saved, options)
    scorer.warm_up(encoded, WARM_UP)
    began = time.perf_counter()
    score = scorer.score(encoded).score
    seconds = time.perf_counter() - began
    signature = scorer.signature(str(ScoringProtocol.of(encoded)), encoded.sha256)
    size, kind = parameter_count(saved.config), saved.tokenizer.kind
    return ComparedModel(name, size, kind, score, seconds, signature)
