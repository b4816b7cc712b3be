"""From a request to a report: read the text, score it, and score baselines for comparison.

torch is imported only after the text has been read, so that errors in names are reported at once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.data.encoding import Encoded, refuse_unknown
from charrnn.data.formats import saved_format
from charrnn.data.lines import line_batches
from charrnn.data.text import OnProgress, no_progress
from charrnn.errors import ModelFileError, UsageError, counted
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.hidden_unit import unit_values
from charrnn.evaluation.model_score import ModelScore, open_scorer, score_model
from charrnn.evaluation.overlap import training_overlap
from charrnn.evaluation.request import EvalRequest
from charrnn.evaluation.score import Score
from charrnn.evaluation.scored_text import (
    ScoredText,
    baseline_scores,
    blank_note,
    held_out_text,
    read_scored,
    text_facts,
)
from charrnn.storage.blend import Saved, open_model

if TYPE_CHECKING:
    from charrnn.evaluation.surprisal import Surprisal


@dataclass(frozen=True)
class ScoreReport:
    """The scores of a model and of baselines on a text.

    Attributes:
        model: The model's score.
        text: What identifies the text, as JSON values.
        dynamic: The score of dynamic evaluation, its protocol and its signature, if requested.
        baselines: The scores of the baselines.
        notes: Messages for the user.
    """

    model: ModelScore
    text: dict[str, Any]
    dynamic: tuple[Score, str, str] | None = None
    baselines: list[BaselineScore] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the notes as JSON values."""
        facts = {"text": self.text} | self.model.to_dict()
        if self.dynamic:
            score, protocol, signature = self.dynamic
            learning = {"protocol": protocol, "signature": signature}
            facts["dynamic"] = learning | {"score": score.to_dict()}
        return facts | {"baselines": [one.to_dict() for one in self.baselines]}


class Evaluation:
    """The evaluation of one model on one text.

    Args:
        request: What to evaluate and how.
        on_progress: Called while the text is read and scored.

    Raises:
        ModelFileError: There is no such model, or it is damaged.
        UsageError: The request cannot be used with this model.
    """

    def __init__(self, request: EvalRequest, on_progress: OnProgress = no_progress) -> None:
        self.request, self.on_progress = request, on_progress
        try:
            self.saved = open_model(request.model, **request.blending.given)
        except ModelFileError as error:
            if any(is_model(text) for text in request.texts):
                error.hint = "The model comes first: charrnn eval MODEL TEXT"
            raise
        if request.dynamic and len(self.saved.members) > 1:
            hint = "Name one of its members."
            raise UsageError("`dynamic` evaluation takes one model, not a blend.", hint)
        self.format = saved_format(self.saved.about)
        self.protocol = request.protocol(self.format)

    @cached_property
    def found(self) -> ScoredText:
        """The text, which is read when this is first asked for.

        Raises:
            TextError: It cannot be read or split.
        """
        request = self.request
        if not request.texts:
            return held_out_text(request.model, self.saved)
        return read_scored(request.texts, request.options, self.format, self.on_progress)

    def lines(self) -> Iterator[tuple[str, list[Score], list[str]]]:
        """Score each line of the text by itself, as it is read.

        Yields:
            The signature, the scores of some lines, and those lines.
        """
        request, count = self.request, 0
        batches = line_batches(request.texts, request.options.reading.encoding)
        scorer = open_scorer(self.saved, request.options)
        signature = scorer.signature("state:reset-line")
        for lines in batches:
            if request.unknown == "error":
                for number, line in enumerate(lines, count + 1):
                    refuse_unknown(self.saved.tokenizer, [line], f"text, in line {number:,},")
            yield signature, scorer.lines(lines), lines
            count += len(lines)

    def tokens(self) -> "tuple[str, Iterator[Surprisal]]":
        """Return the signature, and the surprisal of each token."""
        encoded = self._encode()
        scorer = open_scorer(self.saved, self.request.options)
        protocol = scorer.settled(encoded, self.protocol)
        tokens = scorer.tokens(self.found.read(), protocol, self.format)
        overlap = training_overlap(self.saved, encoded)
        return scorer.signature(str(protocol), encoded.sha256, overlap=overlap), tokens

    def unit_values(self, unit: int, layer: int | None) -> list[tuple[str, float]]:
        """Return the text in pieces, with the values of a hidden unit; see `hidden_unit`."""
        return unit_values(self.saved, self.found.read(), unit, layer)

    def report(self) -> ScoreReport:
        """Score the text as a whole, with baselines for comparison."""
        request, found, encoded = self.request, self.found, self._encode()
        scorer = open_scorer(self.saved, request.options)
        scorer.on_progress = self.on_progress
        model = score_model(str(request.model), self.saved, encoded, scorer, self.protocol)
        dynamic = None
        if request.dynamic:
            learning = request.dynamic_config()
            signature = scorer.signature(
                str(learning), encoded.sha256, "fp32", overlap=model.overlap
            )
            dynamic = scorer.dynamic_score(encoded, learning), str(learning), signature
        costs, notes = baseline_scores(found, request.options.baselines, self.on_progress)
        if costs and not costs[0].is_primed:
            costs.insert(0, _uniform(self.saved, model.score))
        notes += blank_note(found, encoded, self.saved)
        seen = model.overlap.notes
        return ScoreReport(
            model=model,
            text=text_facts(found.name, encoded),
            dynamic=dynamic,
            baselines=costs,
            notes=(*seen, *notes),
        )

    def _encode(self) -> Encoded:
        return self.found.encode(self.saved, self.request.unknown)


def is_model(path: str) -> bool:
    """Return whether a path is a run folder or is named like a model file."""
    return (Path(path) / "model.safetensors").is_file() or Path(path).suffix == ".safetensors"


def _uniform(saved: Saved, score: Score) -> BaselineScore:
    """Return the score of a text if all of the model's symbols are equally likely."""
    tokenizer = saved.tokenizer
    nats = score.tokens * math.log(tokenizer.size) + score.unknown * tokenizer.unknown_nats
    name = f"uniform over the model's {counted(tokenizer.size, 'symbol')}"
    return BaselineScore(name, nats, score.characters, score.bytes)
