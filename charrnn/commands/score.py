"""`charrnn eval`: how well a model predicts a text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import charrnn
from charrnn import console
from charrnn.api import load
from charrnn.corpus import Encoded, Size, Text, cut, read_texts, training_part
from charrnn.errors import UsageError
from charrnn.mapped import encode_once
from charrnn.reading import ReadingView
from charrnn.records import cut_records, survey

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
    part, encoded = read_part(loaded, options)
    from charrnn.machine import use_threads

    use_threads(options.threads)
    protocol = scoring_protocol(options, records=loaded.separator is not None)
    score = loaded.score(encoded, protocol=protocol, device=options.device, precision=options.precision)
    signature = "|".join(
        [
            f"tokenizer:{loaded.tokenizer.kind}-{loaded.tokenizer.size}",
            str(protocol),
            f"precision:{options.precision}",
            f"text:{part.sha256[:12]}",
            f"model:{loaded.saved.sha256[:12]}",
            f"charrnn:{charrnn.__version__}",
        ]
    )
    if as_json:
        console.write_json(score.to_dict() | {"signature": signature})
    else:
        console.write_table(console.score_rows(score, signature))


def read_part(model: charrnn.Model, options: EvalOptions) -> tuple[Size, Encoded]:
    """Read the text, or its end, and encode it; show what there is to know about the reading."""
    with ReadingView(console.stderr_console()) as reading:
        text = read_texts(options.texts, encoding=options.encoding, watch=reading.measured)
        for note in text.notes:
            console.show_note(note)
        part, size = chosen_part(text, options.valid_fraction, model.separator), Size()
        if options.unknown == "error":
            model.refuse_strangers(part(text.chunks()))
        chunks = size.measuring(part(reading.passing("Encoding", text)))
        (encoded,) = encode_once(model.tokenizer, [chunks], records=model.separator is not None)
    return size, encoded


def chosen_part(
    text: Text, valid_fraction: float | None, separator: str | None
) -> Callable[[Iterable[str]], Iterator[str]]:
    """Return what takes from a text's chunks the part that is to be scored, in chunks or in records."""
    if separator is None:
        before = 0 if valid_fraction is None else training_part(text.characters, valid_fraction)
        return lambda chunks: cut(chunks, before)[1]
    if valid_fraction is None:
        return lambda chunks: cut_records(chunks, separator)
    return survey(text.chunks(), separator, text.name).divided(valid_fraction).validating


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
