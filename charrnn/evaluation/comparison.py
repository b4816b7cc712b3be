"""Scores of several models side by side on one text."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from charrnn.data.encoding import Encoded
from charrnn.data.formats import PLAIN, RecordFormat, TextFormat, saved_format
from charrnn.data.split import TextPart
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import UsageError
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.interval import Interval, difference_interval, score_interval
from charrnn.evaluation.model_score import ModelScore, open_scorer, score_model
from charrnn.evaluation.request import ScoreOptions
from charrnn.evaluation.score import Score
from charrnn.evaluation.scored_text import (
    FileText,
    baseline_scores,
    encode_part,
    read_scored,
    text_facts,
)
from charrnn.evaluation.seeds import ModelGroup, load_group, seed_of
from charrnn.storage.blend import Saved

WARM_UP = 1000  # tokens that are scored before the time is measured


@dataclass(frozen=True)
class ComparedModel:
    """One row of a comparison: a model, trained once or with several seeds.

    Attributes:
        name: The model's name, as it was given.
        runs: The scores of its runs.
        seconds: How long scoring all runs took.
    """

    name: str
    runs: tuple[ModelScore, ...]
    seconds: float

    @property
    def score(self) -> Score:
        """The score; of several runs, with the mean of their nats."""
        nats = sum(one.score.nats for one in self.runs) / len(self.runs)
        return replace(self.runs[0].score, nats=nats)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the bits per character between seeds, if there are several."""
        values, mean = [one.score.bits_per_char for one in self.runs], self.score.bits_per_char
        if len(values) < 2:
            return None
        return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

    @property
    def interval(self) -> Interval | str:
        """The interval of 95 % in bits per character, or the reason why there is none."""
        return score_interval(*(one.breakdown for one in self.runs))

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        score, interval = self.score, self.interval
        return {
            "name": self.name,
            "score": score.to_dict(),
            "deviation": self.deviation,
            "interval": interval.bounds if isinstance(interval, Interval) else None,
            "no_interval": interval if isinstance(interval, str) else None,
            "tokens_per_char": score.tokens / score.characters,
            "chars_per_second": len(self.runs) * score.characters / self.seconds,
            "runs": [one.to_dict() | {"seed": seed_of(one.saved)} for one in self.runs],
        }


@dataclass(frozen=True)
class Difference:
    """How much worse one model is than another.

    Attributes:
        better: Name of the model with fewer bits.
        worse: Name of the other.
        bits_per_char: What the other needs more, in bits per character.
        interval: The interval of 95 % of that, paired; None for a text that is too short.
    """

    better: str
    worse: str
    bits_per_char: float
    interval: Interval | None

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval leaves out 0; None without an interval."""
        return None if self.interval is None else self.interval.low > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        bounds = None if self.interval is None else self.interval.bounds
        names = {"better": self.better, "worse": self.worse, "bits_per_char": self.bits_per_char}
        return names | {"interval": bounds, "beyond_noise": self.beyond_noise}


@dataclass(frozen=True)
class Comparison:
    """Models and baselines side by side.

    Attributes:
        text: What identifies the text, as JSON values.
        models: The models, in the order in which they were given.
        baselines: The scores of the baselines.
        notes: Messages for the user.
    """

    text: dict[str, Any]
    models: list[ComparedModel]
    baselines: list[BaselineScore]
    notes: tuple[str, ...]

    @property
    def differences(self) -> list[Difference]:
        """The difference between each two models."""
        return [difference(*pair) for pair in combinations(self.models, 2)]

    def to_dict(self) -> dict[str, Any]:
        """Return all but the notes as JSON values."""
        return {
            "text": self.text,
            "models": [one.to_dict() for one in self.models],
            "differences": [one.to_dict() for one in self.differences],
            "baselines": [one.to_dict() for one in self.baselines],
        }


@dataclass(frozen=True)
class ComparisonInputs:
    """The models to compare, and the text."""

    models: list[ModelGroup]
    found: FileText
    is_mixed: bool = False


def difference(first: ComparedModel, second: ComparedModel) -> Difference:
    """Return the difference between two models."""
    better, worse = sorted((first, second), key=lambda one: one.score.nats)
    more = worse.score.bits_per_char - better.score.bits_per_char
    parts = ([one.breakdown for one in model.runs] for model in (worse, better))
    return Difference(better.name, worse.name, more, difference_interval(*parts))


def read_comparison(
    names: Sequence[str],
    text: str,
    options: ScoreOptions,
    on_progress: OnProgress = no_progress,
    *,
    rule: str | None = None,
) -> ComparisonInputs:
    """Load the models and read the text, before time is spent on scoring.

    Args:
        names: Run folders, model files, blends of these such as a+b, or folders of runs that
            differ in their seeds only.
        text: The text's path.
        options: What to score and how.
        rule: How the predictions of blends are mixed; None is the default.
        on_progress: Called while the text is read.

    Raises:
        CharRNNError: A model or the text cannot be read, or they cannot be used together.
    """
    models = [load_group(name, rule) for name in names]
    formats = [saved_format(saved.about) for group in models for _, saved in group.runs]
    chosen = common_format(formats, options)
    found = read_scored([text], options, chosen, on_progress)
    return ComparisonInputs(models, found, any(one != chosen for one in formats))


def compare_models(
    inputs: ComparisonInputs, options: ScoreOptions, on_progress: OnProgress = no_progress
) -> Comparison:
    """Score models side by side."""
    rows, facts = list[ComparedModel](), dict[str, Any]()
    for group in inputs.models:
        scores, seconds = list[ModelScore](), 0.0
        for name, saved in group.runs:
            encoded = encode_for(saved, inputs)
            facts = facts or text_facts(inputs.found.name, encoded)
            score, taken = timed_score(name, saved, encoded, options, on_progress)
            scores.append(score)
            seconds += taken
        rows.append(ComparedModel(group.name, tuple(scores), seconds))
    costs, notes = baseline_scores(inputs.found, options.baselines, on_progress)
    return Comparison(facts, rows, costs, (*notes_about(rows), *notes))


def encode_for(saved: Saved, inputs: ComparisonInputs) -> Encoded:
    """Return the text as a model's ids: the same text for all models.

    Beside models of plain text, a model of records scores blank records too, and its bits per
    character are those of the original text.
    """
    part, text_format = inputs.found.text, saved_format(saved.about)
    if part.format == text_format or text_format.separator is None:
        encoded = encode_part(saved, part)
    else:
        whole = RecordFormat(text_format.separator, keep_blank=True)
        encoded = encode_part(saved, TextPart.whole(part.text, whole))
    if not inputs.is_mixed:
        return encoded
    return replace(encoded, characters=part.text.characters, bytes=part.text.bytes)


def notes_about(rows: Sequence[ComparedModel]) -> tuple[str, ...]:
    """Return each model's notes, and one about each that was trained on the text, or a part."""
    found = [(run, note) for row in rows for run in row.runs for note in run.notes]
    return tuple(f"{run.name}: {note}" for run, note in found)


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


def timed_score(
    name: str,
    saved: Saved,
    encoded: Encoded,
    options: ScoreOptions,
    on_progress: OnProgress = no_progress,
) -> tuple[ModelScore, float]:
    """Score one model, and measure the seconds that it takes after a warm-up."""
    scorer = open_scorer(saved, options)
    scorer.warm_up(encoded, WARM_UP)
    scorer.on_progress = lambda _, done, total: on_progress(f"Scoring {name}", done, total)
    began = time.perf_counter()
    score = score_model(name, saved, encoded, scorer)
    return score, time.perf_counter() - began
