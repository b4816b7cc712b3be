"""From a request to a report: read the text, score it, and score baselines for comparison.

torch is imported only after the text has been read, so that errors in names are reported at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from charrnn.data.encoding import Encoded, refuse_unknown
from charrnn.data.formats import TextFormat, saved_format
from charrnn.data.id_cache import encode_to_tempfile
from charrnn.data.lines import line_batches
from charrnn.data.split import TextPart, split_text
from charrnn.data.text import OnProgress, no_progress, read_text
from charrnn.evaluation import baselines
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.interval import Interval, interval_facts, score_interval
from charrnn.evaluation.request import EvalRequest, ScoreOptions
from charrnn.evaluation.score import Score
from charrnn.runtime.machine import check_address_space
from charrnn.storage.model_file import SavedModel, load_model

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer
    from charrnn.evaluation.surprisal import Surprisal

MAX_DEFAULT_LENGTH = 4_000_000  # characters, for which the baselines take a few seconds
NO_BASELINES = (
    "No baselines: they take a while for texts of this length. Add `baselines` to score them."
)


@dataclass(frozen=True)
class ScoredText:
    """The text to score, and the text that baselines are trained on.

    Attributes:
        text: The text to score.
        train: The text that the baselines are trained on, if there is one.
        notes: Messages for the user.
    """

    text: TextPart
    train: TextPart | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoreReport:
    """The scores of a model and of baselines on a text.

    Attributes:
        score: The model's score.
        interval: Its interval of 95 % in bits per character, or the reason why it has none.
        signature: Everything that the score depends on.
        dynamic: The score of dynamic evaluation and its signature, if requested.
        baselines: The scores of the baselines.
        notes: Messages for the user.
    """

    score: Score
    interval: Interval | str
    signature: str
    dynamic: tuple[Score, str] | None = None
    baselines: list[BaselineScore] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the notes as JSON values."""
        facts = self.score.to_dict() | interval_facts(self.interval)
        facts["signature"] = self.signature
        if self.dynamic:
            score, signature = self.dynamic
            facts["dynamic"] = score.to_dict() | {"signature": signature}
        return facts | {"baselines": [one.to_dict() for one in self.baselines]}


class Evaluation:
    """The evaluation of one model on one text.

    Args:
        request: What to evaluate and how.
        on_progress: Called while the text is read.

    Raises:
        ModelFileError: There is no such model, or it is damaged.
        UsageError: The request cannot be used with this model.
    """

    def __init__(self, request: EvalRequest, on_progress: OnProgress = no_progress) -> None:
        self.request, self.on_progress = request, on_progress
        self.saved = load_model(request.model)
        self.format = saved_format(self.saved.about)
        self.protocol = request.protocol(self.format)

    @cached_property
    def found(self) -> ScoredText:
        """The text, which is read when this is first asked for.

        Raises:
            TextError: It cannot be read or split.
        """
        request = self.request
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
        tokens = scorer.tokens(self.found.text.read(), protocol, self.format)
        return scorer.signature(str(protocol), encoded.sha256), tokens

    def report(self) -> ScoreReport:
        """Score the text as a whole, with baselines for comparison."""
        request, found, encoded = self.request, self.found, self._encode()
        scorer = open_scorer(self.saved, request.options)
        protocol = scorer.settled(encoded, self.protocol)
        breakdown = scorer.score(encoded, protocol)
        dynamic = None
        if request.dynamic:
            learning = request.dynamic_config()
            signature = scorer.signature(str(learning), encoded.sha256, "fp32")
            dynamic = scorer.dynamic_score(encoded, learning), signature
        costs, notes = baseline_scores(found, request.options.baselines)
        if costs and not found.train:
            costs.insert(0, _uniform(self.saved, breakdown.score))
        return ScoreReport(
            score=breakdown.score,
            interval=score_interval(breakdown),
            signature=scorer.signature(str(protocol), encoded.sha256),
            dynamic=dynamic,
            baselines=costs,
            notes=notes,
        )

    def _encode(self) -> Encoded:
        return encode_part(self.saved, self.found.text, self.request.unknown)


def read_scored(
    paths: Sequence[str], options: ScoreOptions, text_format: TextFormat, on_progress: OnProgress
) -> ScoredText:
    """Read the text to score, and the text that the baselines are trained on."""
    encoding = options.reading.encoding
    whole = read_text(paths, encoding=encoding, on_progress=on_progress)
    train, notes = None, whole.notes
    if options.train:
        other = read_text(options.train, encoding=encoding, on_progress=on_progress)
        train, notes = TextPart.whole(other, text_format), (*notes, *other.notes)
    if options.valid_fraction is None:
        return ScoredText(TextPart.whole(whole, text_format), train, notes)
    split = split_text(whole, text_format, options.valid_fraction)
    return ScoredText(split.valid, train or split.train, (*notes, *split.notes))


def encode_part(saved: SavedModel, part: TextPart, unknown: str = "charge") -> Encoded:
    """Return a part of a text as ids in a memory-mapped file.

    Raises:
        TextError: It has unknown characters and `unknown` is "error", or it cannot be read.
    """
    if unknown == "error":
        units = part.units("Looking for unknown characters")
        refuse_unknown(saved.tokenizer, units, "text")
    return encode_to_tempfile(saved.tokenizer, part, "Encoding")


def open_scorer(saved: SavedModel, options: ScoreOptions) -> "Scorer":
    """Return a scorer for a model, with the device, precision and threads of the options."""
    check_address_space()
    from charrnn.evaluation.scorer import Scorer

    device, precision, threads = options.device, options.precision, options.reading.threads
    return Scorer(saved, device=device, precision=precision, threads=threads)


def baseline_scores(
    found: ScoredText, wanted: bool | None
) -> tuple[list[BaselineScore], tuple[str, ...]]:
    """Return the scores of the baselines, and notes.

    Args:
        found: The texts.
        wanted: Whether to score baselines; None scores them if the texts are short enough to be
            fast, and says so in a note otherwise.
    """
    parts = [part for part in (found.train, found.text) if part]
    if wanted is None and sum(part.characters for part in parts) > MAX_DEFAULT_LENGTH:
        return [], (NO_BASELINES,)
    if wanted is False:
        return [], ()
    text = found.text.read()
    if found.train is None:
        return list(baselines.unprimed(text)), ()
    return list(baselines.primed(found.train.read(), text)), ()


def _uniform(saved: SavedModel, score: Score) -> BaselineScore:
    """Return the score of a text if all of the model's symbols are equally likely."""
    tokenizer = saved.tokenizer
    nats = score.tokens * math.log(tokenizer.size) + score.unknown * tokenizer.unknown_nats
    name = f"uniform over the model's {tokenizer.size:,} symbols"
    return BaselineScore(name, nats, score.characters, score.bytes)
