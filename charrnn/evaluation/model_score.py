"""A model's score of a text, and all that it depends on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.data.encoding import Encoded
from charrnn.evaluation.interval import Interval, score_interval
from charrnn.evaluation.overlap import TrainingOverlap, training_overlap
from charrnn.evaluation.request import ScoreOptions
from charrnn.evaluation.score import Score, ScoreBreakdown, ScoringProtocol
from charrnn.model.shapes import parameter_count, table_size
from charrnn.runtime.machine import check_address_space
from charrnn.storage.blend import Saved, identity_facts

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer


@dataclass(frozen=True)
class ModelScore:
    """A model's score of a text.

    Attributes:
        name: The model's path, as it was given.
        saved: The model.
        breakdown: The score, and the losses of the parts of the text.
        protocol: Name of the protocol by which it was scored.
        signature: Everything that the score depends on.
        overlap: How much of the text was seen in training.
    """

    name: str
    saved: Saved
    breakdown: ScoreBreakdown
    protocol: str
    signature: str
    overlap: TrainingOverlap

    @property
    def score(self) -> Score:
        """The score of the whole text."""
        return self.breakdown.score

    @property
    def interval(self) -> Interval | str:
        """Its interval of 95 % in bits per character, or the reason why it has none."""
        return score_interval(self.breakdown)

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user, about the model and what it has seen of the text."""
        return self.saved.notes + self.overlap.notes

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        interval = self.interval
        return {
            "model": model_facts(self.name, self.saved),
            "protocol": self.protocol,
            "signature": self.signature,
            "training": self.overlap.to_dict(),
            "score": self.score.to_dict(),
            "interval": interval.bounds if isinstance(interval, Interval) else None,
            "no_interval": interval if isinstance(interval, str) else None,
        }


def score_model(
    name: str,
    saved: Saved,
    text: Encoded,
    scorer: "Scorer",
    protocol: ScoringProtocol | None = None,
) -> ModelScore:
    """Score a text as a whole.

    Args:
        name: The model's path, as it was given.
        saved: The model.
        text: The text, encoded by the model's tokenizer.
        scorer: Scores with the model.
        protocol: How the state is carried or reset; by default that of `ScoringProtocol.of`.
    """
    settled, overlap = scorer.settled(text, protocol), training_overlap(saved, text)
    breakdown = scorer.score(text, settled)
    signature = scorer.signature(str(settled), text.sha256, overlap=overlap)
    return ModelScore(name, saved, breakdown, str(settled), signature, overlap)


def model_facts(name: str, saved: Saved) -> dict[str, Any]:
    """Return what identifies a model, and its size, as JSON values."""
    return identity_facts(name, saved) | {
        "parameters": sum(parameter_count(one.config) for one in saved.members),
        "table_parameters": sum(table_size(one.config) for one in saved.members),
        "tokenizer": saved.tokenizer.kind,
        "vocab_size": saved.tokenizer.size,
    }


def open_scorer(saved: Saved, options: ScoreOptions) -> "Scorer":
    """Return a scorer for a model, with the device, precision and threads of the options.

    Without a number of threads, it leaves other programs their cores if that makes it faster.
    """
    check_address_space()
    from charrnn.evaluation.scorer import Scorer

    compute = {"device": options.device, "precision": options.precision}
    scorer = Scorer(saved, threads=options.reading.threads, **compute)
    if options.reading.threads is None and saved.source is None:
        scorer.use_idle_cores()
    return scorer
