"""`charrnn eval`: how well a model predicts a text, and what the text costs without it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.api import Model
from charrnn.config.schema import DynamicConfig, flag
from charrnn.data.id_cache import encode_once
from charrnn.data.records import cut_records, survey
from charrnn.data.split import cut, training_part
from charrnn.data.text import Encoded, Size, Text, read_texts
from charrnn.errors import UsageError
from charrnn.evaluation import baselines, bootstrap
from charrnn.evaluation.baselines import Cost
from charrnn.runtime.signals import end_at_once
from charrnn.terminal import console
from charrnn.terminal.reading_progress import ReadingView
from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.evaluation.scoring import ScoringProtocol, Tally

CHEAP = 4_000_000  # characters: a few seconds for the baselines


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What is read, which part of it is scored, and how.

    What `charrnn eval` and `charrnn compare` were both asked.
    """

    texts: Sequence[str]
    train: Sequence[str]
    encoding: str
    valid_fraction: float | None
    baselines: bool | None
    device: str
    precision: str
    threads: int | None
    json: bool


@dataclass(frozen=True, kw_only=True)
class EvalOptions(ScoreOptions):
    """What `charrnn eval` was asked; `learning` are fields of `DynamicConfig` that were given."""

    reset_every: int | None
    exact: bool
    unknown: str
    dynamic: bool
    learning: dict[str, float]
    views: Sequence[str]

    def check(self) -> DynamicConfig:
        """Raise `UsageError` if the options contradict each other.

        Return how to learn while scoring.
        """
        if self.unknown not in ("charge", "error"):
            raise UsageError(f"--unknown must be one of charge, error, not {self.unknown!r}.")
        if len(self.views) > 1:
            raise UsageError(
                f"--{self.views[0]} and --{self.views[1]} are two outputs.", "Give one of them."
            )
        for option, wanted in self._beside().items():
            if wanted and self.views:
                raise UsageError(
                    f"{option} has no part in --{self.views[0]}.", "Leave one of them out."
                )
        if self.dynamic and self.reset_every is not None:
            raise UsageError(
                "--dynamic carries on what it learns and --reset-every drops it.",
                "Give one of them.",
            )
        for name in self.learning:
            if not self.dynamic:
                raise UsageError(f"{flag(name)} needs --dynamic.")
        if self.exact and self.reset_every is not None:
            raise UsageError(
                "--exact carries the state through and --reset-every drops it.", "Give one of them."
            )
        if self.reset_every is not None and self.reset_every < 1:
            raise UsageError(f"--reset-every must be at least 1, not {self.reset_every}.")
        return DynamicConfig(**self.learning)  # type: ignore[arg-type]

    def _beside(self) -> dict[str, bool]:
        """Return whether each option was given that not every view has a use for."""
        given = {
            "--dynamic": self.dynamic,
            "--train": bool(self.train),
            "--baselines": self.baselines is True,
        }
        if self.views and self.views[0] == "by-line":
            given |= {"--exact": self.exact, "--reset-every": self.reset_every is not None}
            given |= {"--valid-fraction": self.valid_fraction is not None}
        return given | {"--json": self.json and "show" in self.views}


@dataclass(frozen=True)
class Part:
    """A text, or a piece of one, that can be read as often as it takes.

    Attributes:
        text: The whole.
        select: Takes the part's chunks out of those of the whole.
    """

    text: Text
    select: Callable[[Iterable[str]], Iterator[str]] = iter

    def chunks(self, reading: ReadingView | None = None) -> Iterator[str]:
        """Yield the part in pieces, and show how far the whole was read."""
        return self.select(
            self.text.chunks() if reading is None else reading.passing("Encoding", self.text)
        )

    def whole(self) -> str:
        """Return the part in one piece."""
        return "".join(self.chunks())

    def encode(self, model: Model, *, unknown: str) -> tuple[str, Encoded]:
        """Return its SHA-256 and its ids in a mapped file.

        Refuse unknown characters if `unknown` is "error".
        """
        if unknown == "error":
            model.refuse_strangers(self.chunks())
        size, separator = Size(), model.separator
        with end_at_once(), ReadingView(console.stderr_console()) as reading:
            chunks = (
                self.chunks(reading)
                if separator is None
                else cut_records(self.chunks(reading), separator)
            )
            (encoded,) = encode_once(
                model.tokenizer, [size.measuring(chunks)], records=separator is not None
            )
        return size.sha256, encoded


def report(
    loaded: Model, train: Part | None, text: Part, learning: DynamicConfig, options: EvalOptions
) -> None:
    """Score a text as a whole, and show it beside what the text costs without the model."""
    from charrnn.evaluation.dynamic import dynamic_nats
    from charrnn.evaluation.scoring import tally, token_nats

    protocol = scoring_protocol(options, records=loaded.separator is not None)
    if options.dynamic and loaded.separator is not None:
        raise UsageError("--dynamic does not suit a model of records: it learns along one text.")
    sha256, encoded = text.encode(loaded, unknown=options.unknown)
    network, autocast = loaded.network(device=options.device, precision=options.precision)
    found = tally(
        token_nats(network, encoded, protocol, autocast=autocast), loaded.tokenizer, encoded
    )
    facts = found.score.to_dict() | {"interval": interval(found)}
    facts["signature"] = signature(
        loaded, str(protocol), precision_used(options.device, options.precision), sha256
    )
    if options.dynamic:
        dynamic = tally(
            dynamic_nats(network, encoded.ids, learning), loaded.tokenizer, encoded
        ).score
        facts["dynamic"] = dynamic.to_dict() | {
            "signature": signature(loaded, str(learning), "fp32", sha256)
        }
    costs = baseline_costs(train, text, wanted=options.baselines)
    if costs and not train:
        nats = found.score.tokens * math.log(loaded.tokenizer.size)
        nats += found.score.unknown * loaded.tokenizer.unknown_nats
        costs.insert(
            0,
            Cost.of(
                f"uniform over the model's {loaded.tokenizer.size:,} symbols", nats, text.whole()
            ),
        )
    facts["baselines"] = [cost.to_dict() for cost in costs]
    if options.json:
        console.write_json(facts)
    else:
        console.write_score(found.score, facts)


def interval(found: "Tally") -> list[float] | None:
    """Return the bootstrap interval of a score in bits per character, tokens per character taken as they are."""
    bounds = bootstrap.interval(found.nats, found.tokens)
    per_character = found.score.tokens / found.score.characters / math.log(2)
    return None if bounds is None else [bound * per_character for bound in bounds]


def read_parts(options: ScoreOptions, separator: str | None) -> tuple[Part | None, Part]:
    """Return the text that baselines may learn from, if there is one, and the text to score, as training divided it."""
    whole, valid_fraction = read_whole(options.texts, options.encoding), options.valid_fraction
    given = Part(read_whole(options.train, options.encoding)) if options.train else None
    if separator is None:
        if valid_fraction is None:
            return given, Part(whole)
        at = training_part(whole.characters, valid_fraction)
        return given or Part(whole, lambda chunks: cut(chunks, at)[0]), Part(
            whole, lambda chunks: cut(chunks, at)[1]
        )
    if valid_fraction is None:
        return given, Part(whole, lambda chunks: cut_records(chunks, separator))
    sides = survey(whole.chunks(), separator, whole.name).divided(valid_fraction)
    return given or Part(whole, sides.training), Part(whole, sides.validating)


def read_whole(paths: Sequence[str], encoding: str) -> Text:
    """Read a text, and show what there is to know about the reading."""
    with end_at_once(), ReadingView(console.stderr_console()) as reading:
        text = read_texts(paths, encoding=encoding, watch=reading.measured)
    for note in text.notes:
        console.show_note(note)
    return text


def baseline_costs(train: Part | None, text: Part, *, wanted: bool | None) -> list[Cost]:
    """Return what `text` costs without a model.

    If nobody asked, only where that takes no more than seconds.
    """
    if wanted is None and sum(part.text.characters for part in (train, text) if part) > CHEAP:
        console.show_note(
            "No baselines: they would take a while for texts of this length. --baselines wants them."
        )
        return []
    if wanted is False:
        return []
    return list(
        baselines.primed(train.whole(), text.whole()) if train else baselines.unprimed(text.whole())
    )


def signature(loaded: Model, state: str, precision: str, sha256: str = "") -> str:
    """Say all that a score depends on.

    Without the text's `sha256`, for lines that come one by one.
    """
    parts = [
        f"tokenizer:{loaded.tokenizer.kind}-{loaded.tokenizer.size}",
        state,
        f"precision:{precision}",
    ]
    if sha256:
        parts.append(f"text:{sha256[:12]}")
    return "|".join([*parts, f"model:{loaded.saved.sha256[:12]}", f"charrnn:{__version__}"])


def precision_used(device: str, precision: str) -> str:
    """Return the number format that the options come to on this machine, which is what a signature has to name."""
    from charrnn.runtime.device import choose_device, choose_precision

    return choose_precision(precision, choose_device(device))


def scoring_protocol(options: EvalOptions, *, records: bool) -> "ScoringProtocol":
    """Return how the state is to run."""
    from charrnn.evaluation.scoring import ScoringProtocol

    if records:
        if options.reset_every is not None:
            raise UsageError(
                "--reset-every does not suit a model of records: each is scored from a state of zero."
            )
        return ScoringProtocol.records()
    if options.reset_every is not None:
        return ScoringProtocol.reset(options.reset_every)
    return ScoringProtocol.exact() if options.exact else ScoringProtocol.carried()
