"""`charrnn eval`: how well a model predicts a text."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import charrnn
from charrnn import console
from charrnn.api import load
from charrnn.corpus import read_texts
from charrnn.errors import UsageError
from charrnn.records import divide

if TYPE_CHECKING:
    from charrnn.scoring import ScoringProtocol


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What `charrnn eval` was asked."""

    texts: Sequence[str]
    encoding: str
    valid_fraction: float | None
    reset_every: int | None
    exact: bool
    unknown: str
    device: str
    precision: str
    threads: int | None


def evaluate(model: Path, options: EvalOptions, *, as_json: bool) -> None:
    """Score a text."""
    loaded = load(model)
    text = read_texts(options.texts, encoding=options.encoding)
    for note in text.notes:
        console.show_note(note)
    part = (
        text.text if options.valid_fraction is None else divide(text.text, options.valid_fraction, loaded.separator)[1]
    )
    from charrnn.machine import use_threads

    use_threads(options.threads)
    protocol = scoring_protocol(options, records=loaded.separator is not None)
    score = loaded.score(
        part, protocol=protocol, unknown=options.unknown, device=options.device, precision=options.precision
    )
    signature = "|".join(
        [
            f"tokenizer:{loaded.tokenizer.kind}-{loaded.tokenizer.size}",
            str(protocol),
            f"precision:{options.precision}",
            f"text:{hashlib.sha256(part.encode()).hexdigest()[:12]}",
            f"model:{loaded.saved.sha256[:12]}",
            f"charrnn:{charrnn.__version__}",
        ]
    )
    if as_json:
        console.write_json(score.to_dict() | {"signature": signature})
    else:
        console.write_table(console.score_rows(score, signature))


def scoring_protocol(options: EvalOptions, *, records: bool) -> "ScoringProtocol":
    """Return how the state is to run."""
    from charrnn.scoring import ScoringProtocol

    if options.unknown not in ("charge", "error"):
        raise UsageError(f"--unknown must be one of charge, error, not {options.unknown!r}.")
    if records:
        if options.reset_every is not None:
            raise UsageError("--reset-every does not suit a model of records: each is scored from a state of zero.")
        return ScoringProtocol.records()
    if options.reset_every is None:
        return ScoringProtocol.exact() if options.exact else ScoringProtocol.carried()
    if options.exact:
        raise UsageError("--exact carries the state through and --reset-every drops it.", "Give one of them.")
    if options.reset_every < 1:
        raise UsageError(f"--reset-every must be at least 1, not {options.reset_every}.")
    return ScoringProtocol.reset(options.reset_every)
