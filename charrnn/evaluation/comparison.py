"""Models side by side on one text."""

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

WARM_UP = 1000  # tokens that are scored before the clock is read


@dataclass(frozen=True)
class ComparedModel:
    """One model's part of a comparison.

    Attributes:
        name: As it was given.
        parameters: How many the model has.
        tokenizer: Kind of its tokenizer.
        score: Of the text.
        seconds: That scoring took.
        signature: All that the score depends on.
    """

    name: str
    parameters: int
    tokenizer: str
    score: Score
    seconds: float
    signature: str

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known as JSON values."""
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


def compare_models(
    names: Sequence[str],
    text: str,
    options: ScoreOptions,
    on_progress: OnProgress = no_progress,
) -> Comparison:
    """Score models side by side.

    Args:
        names: Run folders or model files.
        text: The text's path.
        options: Which part of it, on what, and beside what.
        on_progress: Is told how far the text is read.

    Raises:
        CharRNNError: A model or the text cannot be read, or they do not go together.
    """
    models = [load_named(name) for name in names]  # all, before time is spent on one
    formats = [saved_format(saved.about) for saved in models]
    found = read_scored([text], options, common_format(formats, options), on_progress)
    rows = [
        compared(name, saved, one, found, options)
        for name, saved, one in zip(names, models, formats, strict=True)
    ]
    costs, notes = baseline_scores(found, options.baselines)
    return Comparison(rows, costs, (*found.notes, *notes))


def common_format(formats: Sequence[TextFormat], options: ScoreOptions) -> TextFormat:
    """Return how the models' texts are organised; plain text, if they do not agree.

    Raises:
        UsageError: They do not, so that they have held out different parts of a text, and that is
            asked for.
    """
    if all(one == formats[0] for one in formats):
        return formats[0]
    if options.valid_fraction is not None:
        raise UsageError(
            "`valid_fraction` means another part of the text to a model of records than to one of "
            "plain text.",
            "Give the held-out text as a file of its own.",
        )
    return PLAIN


def load_named(name: str) -> SavedModel:
    """Load one of several models.

    Raises:
        ModelFileError: It cannot be; the message names it.
    """
    try:
        return load_model(Path(name))
    except ModelFileError as error:
        error.hint = error.hint or "All arguments but the last are models."
        raise


def compared(
    name: str,
    saved: SavedModel,
    text_format: TextFormat,
    found: ScoredText,
    options: ScoreOptions,
) -> ComparedModel:
    """Score one model; it takes its time after a warm start."""
    text = found.text
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
