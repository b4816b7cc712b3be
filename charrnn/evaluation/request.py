"""What is scored, how, and beside what: asked for on the command line or in Python. No torch."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import Checked, argument, check_number, option, settings_of
from charrnn.config.schema import DATA, DEVICES, DYNAMIC, PRECISIONS, DynamicConfig
from charrnn.data.formats import TextFormat
from charrnn.data.text import TEXTS
from charrnn.errors import UsageError
from charrnn.evaluation.score import ScoringProtocol

COMPUTE, BASELINES = "Computing", "Baselines"
MODEL = "A run folder or a model file"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Checked):
    """How a text is read, and what computes on it."""

    encoding: str = option("utf-8", "Encoding of the text", group=DATA, metavar="NAME")
    threads: int | None = option(
        None, "CPU threads", low=1, high=1024, group=COMPUTE, default_note="all cores"
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Checked):
    """Which part of a text is scored, on what, and beside what."""

    reading: TextOptions
    valid_fraction: float | None = option(
        None, "Score only this fraction of the text, split as in training: 0.1 is what was held out"
    )
    train: tuple[str, ...] = option(
        (),
        "Text that the baselines learn from",
        group=BASELINES,
        metavar="TEXT",
        default_note="what `valid_fraction` leaves",
    )
    baselines: bool | None = option(
        None,
        "Also score uniform, unigram, n-gram, gzip, bz2, xz",
        group=BASELINES,
        default_note="up to 4 million characters",
    )
    device: str = option("auto", "Where to compute", choices=DEVICES, group=COMPUTE)
    precision: str = option(
        "fp32", "Number format of the matrix products", choices=PRECISIONS, group=COMPUTE
    )


@dataclass(frozen=True, kw_only=True)
class EvalRequest(Checked):
    """What one model is to be asked about one text.

    Attributes:
        options: Which part of the text, on what, and beside what.
        learning: Fields of `DynamicConfig` that were given.
    """

    model: Path = argument(MODEL, "MODEL")
    texts: tuple[str, ...] = argument(TEXTS, "TEXT")
    options: ScoreOptions
    reset_every: int | None = option(
        None, "Forget the context after every N tokens, as transformers are scored"
    )
    exact: bool = option(False, "Score in one serial pass, not in parallel segments with warm-up")
    unknown: str = option(
        "charge",
        "Charge unknown characters honestly, or refuse them",
        choices=("charge", "error"),
    )
    dynamic: bool = option(
        False,
        "Also score a copy of the model that learns from each segment once it is scored",
        group=DYNAMIC,
    )
    learning: dict[str, float] = settings_of(DynamicConfig)

    def __post_init__(self) -> None:
        """Raise `UsageError` if what is asked for contradicts itself."""
        super().__post_init__()
        if self.reset_every is not None:
            check_number("reset_every", self.reset_every, low=1)
            for name in ("dynamic", "exact"):
                if getattr(self, name):
                    message = f"`{name}` carries the state on and `reset_every` drops it."
                    raise UsageError(message, "Leave one out.")
        for name in self.learning:
            if not self.dynamic:
                raise UsageError(f"`{name}` needs `dynamic`.")
        self.dynamic_config()

    def dynamic_config(self) -> DynamicConfig:
        """Return how to learn while scoring."""
        return DynamicConfig(**self.learning)  # type: ignore[arg-type]

    def protocol(self, text_format: TextFormat) -> ScoringProtocol:
        """Return how the state is to run.

        Raises:
            UsageError: That does not suit a model of records.
        """
        if text_format.separator is not None:
            for name in ("reset_every", "dynamic"):
                if getattr(self, name):
                    why = "each is scored from zero state"
                    raise UsageError(f"`{name}` cannot be used with a model of records: {why}.")
            return ScoringProtocol.records()
        if self.reset_every is not None:
            return ScoringProtocol.reset(self.reset_every)
        return ScoringProtocol.exact() if self.exact else ScoringProtocol.carried()
