"""From a request to what there is to say: read the text, score it, and put baselines beside it.

torch is imported only after the text has been read, so that a wrong name is told at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charrnn.data.encoding import Encoded, refuse_unknown
from charrnn.data.formats import TextFormat, saved_format
from charrnn.data.id_cache import encode_to_tempfile
from charrnn.data.lines import line_batches
from charrnn.data.split import TextPart, split_text
from charrnn.data.text import OnProgress, no_progress, read_text
from charrnn.evaluation import baselines, bootstrap
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.request import EvalRequest, ScoreOptions
from charrnn.evaluation.score import Score
from charrnn.storage.model_file import SavedModel, load_model

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer
    from charrnn.evaluation.surprisal import Surprisal

CHEAP = 4_000_000  # characters: a few seconds for the baselines
NO_BASELINES = (
    "No baselines: they would take a while for texts of this length. `baselines` wants them."
)


@dataclass(frozen=True)
class ScoredText:
    """What is scored, and what the baselines may learn from.

    Attributes:
        text: What is scored.
        train: What the baselines may learn from, if there is such a text.
        notes: What a person should be told.
    """

    text: TextPart
    train: TextPart | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoreReport:
    """What there is to say about a model and a text.

    Attributes:
        score: Of the text.
        interval: Its 95 % bootstrap interval in bits per character, or None for a short text.
        signature: All that the score depends on.
        dynamic: The score of dynamic evaluation and its signature, if it was asked for.
        baselines: What the text costs without the model.
        notes: What a person should be told.
    """

    score: Score
    interval: list[float] | None
    signature: str
    dynamic: tuple[Score, str] | None = None
    baselines: list[BaselineScore] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the notes as JSON values."""
        facts = self.score.to_dict() | {"interval": self.interval, "signature": self.signature}
        if self.dynamic:
            score, signature = self.dynamic
            facts["dynamic"] = score.to_dict() | {"signature": signature}
        return facts | {"baselines": [one.to_dict() for one in self.baselines]}


class Evaluation:
    """One model, and what it is asked about one text.

    Args:
        request: What is asked.
        on_progress: Is told how far the text is read.

    Raises:
        ModelFileError: There is no such model, or it is damaged.
        UsageError: What is asked does not suit it.
    """

    def __init__(self, request: EvalRequest, on_progress: OnProgress = no_progress) -> None:
        self.request, self.on_progress = request, on_progress
        self.saved = load_model(request.model)
        self.format = saved_format(self.saved.about)
        self.protocol = request.protocol(self.format)

    def lines(self) -> Iterator[tuple[str, list[Score], list[str]]]:
        """Score each line of the text by itself, as they come.

        Yields:
            The signature, the scores of some lines, and these lines.
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

    def tokens(self) -> "tuple[tuple[str, ...], Iterator[Surprisal]]":
        """Return what a person should be told, and what the model thought of each token.

        The last line to be told is the signature.
        """
        found, encoded = self._read()
        scorer = open_scorer(self.saved, self.request.options)
        tokens = scorer.tokens(found.text.read(), self.protocol, self.format)
        return (*found.notes, scorer.signature(str(self.protocol), encoded.sha256)), tokens

    def report(self) -> ScoreReport:
        """Score the text as a whole, and put baselines beside it."""
        request = self.request
        found, encoded = self._read()
        scorer = open_scorer(self.saved, request.options)
        breakdown = scorer.score(encoded, self.protocol)
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
            interval=bootstrap.bits_per_char_interval(breakdown),
            signature=scorer.signature(str(self.protocol), encoded.sha256),
            dynamic=dynamic,
            baselines=costs,
            notes=(*found.notes, *notes),
        )

    def _read(self) -> tuple[ScoredText, Encoded]:
        """Read the text, and encode what is scored."""
        request = self.request
        found = read_scored(request.texts, request.options, self.format, self.on_progress)
        return found, encode_part(self.saved, found.text, request.unknown)


def read_scored(
    paths: Sequence[str], options: ScoreOptions, text_format: TextFormat, on_progress: OnProgress
) -> ScoredText:
    """Read what is to be scored, and what the baselines may learn from."""
    encoding = options.reading.encoding
    whole = read_text(paths, encoding=encoding, on_progress=on_progress)
    train, notes = None, whole.notes
    if options.train:
        primer = read_text(options.train, encoding=encoding, on_progress=on_progress)
        train, notes = TextPart.whole(primer, text_format), (*notes, *primer.notes)
    if options.valid_fraction is None:
        return ScoredText(TextPart.whole(whole, text_format), train, notes)
    split = split_text(whole, text_format, options.valid_fraction)
    return ScoredText(split.valid, train or split.train, (*notes, *split.notes))


def encode_part(saved: SavedModel, part: TextPart, unknown: str = "charge") -> Encoded:
    """Return a part of a text as ids in a mapped file; refuse unknown characters on "error"."""
    if unknown == "error":
        units = part.units("Looking for unknown characters")
        refuse_unknown(saved.tokenizer, units, "text")
    return encode_to_tempfile(saved.tokenizer, part, "Encoding")


def open_scorer(saved: SavedModel, options: ScoreOptions) -> "Scorer":
    """Return what scores texts with a model, as the options say."""
    from charrnn.evaluation.scorer import Scorer

    device, precision, threads = options.device, options.precision, options.reading.threads
    return Scorer(saved, device=device, precision=precision, threads=threads)


def baseline_scores(
    found: ScoredText, wanted: bool | None
) -> tuple[list[BaselineScore], tuple[str, ...]]:
    """Return what a text costs without a model; if nobody asked, only where that is quick.

    A note says why there are none.
    """
    parts = [part for part in (found.train, found.text) if part]
    if wanted is None and sum(part.characters for part in parts) > CHEAP:
        return [], (NO_BASELINES,)
    if wanted is False:
        return [], ()
    text = found.text.read()
    if found.train is None:
        return list(baselines.unprimed(text)), ()
    return list(baselines.primed(found.train.read(), text)), ()


def _uniform(saved: SavedModel, score: Score) -> BaselineScore:
    """Return what a text costs if all of the model's symbols are equally likely."""
    tokenizer = saved.tokenizer
    nats = score.tokens * math.log(tokenizer.size) + score.unknown * tokenizer.unknown_nats
    name = f"uniform over the model's {tokenizer.size:,} symbols"
    return BaselineScore(name, nats, score.characters, score.bytes)
