"""`charrnn sample`, `eval` and `info`: what a trained model can be asked."""

import hashlib
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import charrnn
from charrnn import console
from charrnn.api import load
from charrnn.corpus import read_texts, split
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.files import shown
from charrnn.shapes import parameter_count

if TYPE_CHECKING:
    from charrnn.scoring import ScoringProtocol


def sample(model: Path, prompt: str, settings: dict[str, Any], *, seed: int | None, num: int, as_json: bool) -> None:
    """Write new text to standard output, as it is made."""
    if not 1 <= num <= MOST_SAMPLES:
        raise UsageError(f"--num must be at least 1 and at most {MOST_SAMPLES:,}, not {num}.")
    loaded = load(model)
    prompt = read_prompt() if prompt == "-" else prompt
    drawn = secrets.randbelow(1 << 32) if seed is None else seed
    if drawn < 0:
        raise UsageError(f"--seed must be at least 0, not {drawn}.")
    pieces = loaded.stream(prompt, seed=drawn, **settings)  # nothing is written before all that was asked is checked
    if seed is None:
        console.show_note(f"--seed {drawn}")
    if as_json:
        texts = loaded.generate_many(prompt, num=num, seed=drawn, **settings)
        console.write_json({"prompt": prompt, "texts": texts, "seed": drawn, "model": loaded.saved.sha256})
    elif num == 1:
        console.write_text(prompt)
        for piece in pieces:
            console.write_text(piece)
        console.write_text("\n")
    else:
        for number, text in enumerate(loaded.generate_many(prompt, num=num, seed=drawn, **settings), 1):
            console.write_text(f"--- {number} ---\n{prompt}{text}\n")


MOST_SAMPLES = 65_536


def read_prompt() -> str:
    """Read a prompt from standard input, as it is."""
    if sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt itself instead of '-'.")
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise TextError(f"The prompt on standard input is not UTF-8: {where}.") from None


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
    part = text.text if options.valid_fraction is None else split(text.text, options.valid_fraction)[1]
    from charrnn.machine import use_threads

    use_threads(options.threads)
    protocol = scoring_protocol(options)
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


def scoring_protocol(options: EvalOptions) -> "ScoringProtocol":
    """Return how the state is to run."""
    from charrnn.scoring import ScoringProtocol

    if options.unknown not in ("charge", "error"):
        raise UsageError(f"--unknown must be one of charge, error, not {options.unknown!r}.")
    if options.reset_every is None:
        return ScoringProtocol.exact() if options.exact else ScoringProtocol.carried()
    if options.exact:
        raise UsageError("--exact carries the state through and --reset-every drops it.", "Give one of them.")
    if options.reset_every < 1:
        raise UsageError(f"--reset-every must be at least 1, not {options.reset_every}.")
    return ScoringProtocol.reset(options.reset_every)


def info(model: Path, *, as_json: bool) -> None:
    """Show what is in a model."""
    saved = load(model).saved
    facts = saved.about | {  # what was checked comes last, so that nothing a file says about itself replaces it
        "config": saved.config.to_dict(),
        "parameters": parameter_count(saved.config),
        "tokenizer": saved.tokenizer.kind,
        "sha256": saved.sha256,
    }
    if as_json:
        console.write_json(facts)
        return
    try:
        rows = console.info_rows(facts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"{shown(model)} says about its training what charrnn would not write.") from error
    console.write_table(rows)
