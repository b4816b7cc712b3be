"""Requests to score texts, from the command line or from Python. No torch."""

from dataclasses import dataclass, field
from pathlib import Path

from charrnn.config.blend import BlendConfig
from charrnn.config.dynamic import DYNAMIC, DynamicConfig
from charrnn.config.fields import Checked, argument, check_number, option, settings_of
from charrnn.config.sampling import MAX_BEAMS
from charrnn.config.training import DATA, DEVICES, PRECISIONS
from charrnn.data.formats import TextFormat
from charrnn.data.text import TEXTS
from charrnn.errors import UsageError
from charrnn.evaluation.score import ScoringProtocol

COMPUTE, BASELINES, PAIRS = "Computing", "Baselines", "Sources and targets"
MODEL = "A run folder or a model file"
MODEL_OR_BLEND = f"{MODEL}; several together are A+B"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Checked):
    """How to read a text, and how many threads to use."""

    encoding: str = option("utf-8", "Encoding of the text", group=DATA, metavar="NAME")
    threads: int | None = option(
        None, "CPU threads", low=1, high=1024, group=COMPUTE, default_note="all cores"
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Checked):
    """Which part of a text to score, on which device, and with which baselines."""

    reading: TextOptions
    valid_fraction: float | None = option(
        None, "Score only this fraction of the text, split as in training: 0.1 is what was held out"
    )
    train: tuple[str, ...] = option(
        (),
        "Text to train the baselines on",
        group=BASELINES,
        metavar="TEXT",
        default_note="what `valid_fraction` leaves",
    )
    baselines: bool | None = option(
        None,
        "Also score baselines: uniform, unigram, n-gram, gzip, bz2, xz",
        group=BASELINES,
        default_note="up to 4 million characters",
    )
    device: str = option("auto", "Where to compute", choices=DEVICES, group=COMPUTE)
    precision: str = option(
        "fp32", "Number format of the matrix products", choices=PRECISIONS, group=COMPUTE
    )

    def __post_init__(self) -> None:
        """Raise `UsageError` if a setting is wrong, or has no effect."""
        super().__post_init__()
        if self.train and self.baselines is False:
            raise UsageError("`train` has no effect without `baselines`.", "Leave it out.")


@dataclass(frozen=True, kw_only=True)
class EvalRequest(Checked):
    """A request to score one text with one model.

    Attributes:
        options: Which part of the text to score, on which device, and with which baselines.
        learning: The fields of `DynamicConfig` that were given.
    """

    model: Path = argument(MODEL_OR_BLEND, "MODEL")
    texts: tuple[str, ...] = argument(f"{TEXTS}; without it, what the run held out", "TEXT", ())
    options: ScoreOptions
    reset_every: int | None = option(
        None, "Reset the state after every N tokens, as transformers are often scored"
    )
    exact: bool = option(False, "Score in one serial pass, not in parallel segments with warm-up")
    unknown: str = option(
        "charge",
        "Charge for unknown characters, or refuse them",
        choices=("charge", "error"),
    )
    beam: int = option(
        5,
        "Beam width of what a model of pairs writes, to be compared with the targets; 0 compares "
        "nothing",
        low=0,
        high=MAX_BEAMS,
        group=PAIRS,
    )
    by_label: bool = option(
        False,
        "Classify by Bayes' rule with a model whose sources are labels: which explains a text best",
        group=PAIRS,
    )
    dynamic: bool = option(
        False,
        "Also score a copy of the model that learns from each segment once it is scored",
        group=DYNAMIC,
    )
    learning: dict[str, float] = settings_of(DynamicConfig)
    blending: BlendConfig = field(default_factory=BlendConfig)

    def __post_init__(self) -> None:
        """Raise `UsageError` if a setting is wrong, or if settings contradict each other."""
        super().__post_init__()
        if self.reset_every is not None:
            check_number("reset_every", self.reset_every, low=1)
            for name in ("dynamic", "exact"):
                if getattr(self, name):
                    message = f"`{name}` carries the state and cannot be used with `reset_every`."
                    raise UsageError(message, "Leave one out.")
        if not self.texts:
            for name in ("valid_fraction", "train"):
                if getattr(self.options, name):
                    raise UsageError(f"`{name}` needs a text.", "Name it after the model.")
        for name in self.learning:
            if not self.dynamic:
                raise UsageError(f"`{name}` needs `dynamic`.")
        self.dynamic_config()

    def refuse_pairs(self) -> None:
        """Raise `UsageError` if something was given that only a model of pairs has a use for."""
        for name in ("by_label", "beam"):
            if getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"`{name}` needs a model of pairs.", "Leave it out.")

    def dynamic_config(self) -> DynamicConfig:
        """Return the configuration of dynamic evaluation."""
        return DynamicConfig(**self.learning)  # type: ignore[arg-type]

    def protocol(self, text_format: TextFormat) -> ScoringProtocol:
        """Return how the state is carried or reset in a text of this format.

        Raises:
            UsageError: The request cannot be used with a model of records.
        """
        if text_format.separator is not None:
            for name in ("reset_every", "dynamic"):
                if getattr(self, name):
                    why = "each record is scored from zero state"
                    raise UsageError(f"`{name}` cannot be used with a model of records: {why}.")
            return ScoringProtocol.records()
        if self.reset_every is not None:
            return ScoringProtocol.reset(self.reset_every)
        return ScoringProtocol.exact() if self.exact else ScoringProtocol.carried()
