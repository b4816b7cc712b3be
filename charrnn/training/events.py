"""The events of a run, for a terminal to show, a notebook to plot or a test to read. No torch."""

from dataclasses import dataclass
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.errors import MachineError
from charrnn.evaluation.score import Score
from charrnn.training.plan import Estimate, Plan


@dataclass(frozen=True)
class Note:
    """A message for the user.

    Attributes:
        text: One line.
        warning: Show it even if only warnings are wanted.
    """

    text: str
    warning: bool = False


@dataclass(frozen=True)
class TextRead:
    """The text was read, split and encoded.

    Attributes:
        name: Short name of the text.
        characters: Of the training part.
        valid_characters: Of the held-out part.
        records: In the training part; 0 if the text has none.
        valid_records: In the held-out part.
        tokenizer: Kind of the tokenizer.
        vocab_size: Number of its symbols.
        unknown: Number of unknown tokens in the held-out part.
        source: One of the sources of its records, if they have any, to try the model with.
    """

    name: str
    characters: int
    valid_characters: int
    records: int
    valid_records: int
    tokenizer: str
    vocab_size: int
    unknown: int
    source: str | None = None


@dataclass(frozen=True)
class Part:
    """One of several runs comes next; `name` says which, as in "member 2 of 3"."""

    name: str


@dataclass(frozen=True)
class Planned:
    """All settings are decided.

    Attributes:
        plan: The settings.
        estimate: What it takes.
        teachers: The shapes of the models to learn from.
        members: How many such models are trained first, if the plan is that of a run without them.
    """

    plan: Plan
    estimate: Estimate
    teachers: tuple[ModelConfig, ...] = ()
    members: int = 0


@dataclass(frozen=True)
class Started:
    """The first step comes next.

    Attributes:
        step: Steps taken before, if a run is continued.
        steps: Steps of the whole run.
        tokens: Tokens seen before.
        characters_per_token: Mean over the training text.
        folder: The run's folder.
    """

    step: int
    steps: int
    tokens: int
    characters_per_token: float
    folder: str = ""


@dataclass(frozen=True)
class Trained:
    """An optimizer step was taken.

    Attributes:
        step: Steps taken so far.
        loss: What is minimised, in nats per token of this step's batch, with dropout; with a
            teacher, a part of it is the cross entropy to the teacher's probabilities.
        lr: Learning rate of this step.
        grad_norm: Norm of the gradient before clipping.
        tokens: Tokens seen so far in the whole run.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int


@dataclass(frozen=True)
class Evaluated:
    """The validation text was scored; `best` if no earlier score was better."""

    step: int
    score: Score
    best: bool


@dataclass(frozen=True)
class ScoredWhole:
    """The best model, of `step`, was scored on the whole validation text."""

    step: int
    score: Score


@dataclass(frozen=True)
class Busy:
    """Something that may take seconds comes next; it ends with the next event.

    Attributes:
        what: What it is, as in "Validating".
        step: Steps taken so far.
    """

    what: str
    step: int = 0


@dataclass(frozen=True)
class Saved:
    """The training state was written to disk."""

    step: int


@dataclass(frozen=True)
class SaveFailed:
    """A periodic save failed; training continues, and the save will be tried again."""

    step: int
    error: MachineError


@dataclass(frozen=True)
class Sampled:
    """A short text that the model wrote."""

    step: int
    text: str


@dataclass(frozen=True)
class Rescheduled:
    """The number of steps was changed, so that the run ends in time."""

    step: int
    steps: int


@dataclass(frozen=True)
class Finished:
    """The run is complete; `summary` is its result, as JSON values."""

    summary: dict[str, Any]


RunEvent = (
    Note
    | TextRead
    | Part
    | Planned
    | Started
    | Trained
    | Evaluated
    | ScoredWhole
    | Busy
    | Saved
    | SaveFailed
    | Sampled
    | Rescheduled
    | Finished
)
