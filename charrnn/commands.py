"""What each command does, from options that are already read to results on standard output.

torch is imported inside the functions that need it, so that all others start at once.
"""

import hashlib
import json
import math
import secrets
import shlex
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import charrnn
from charrnn import console
from charrnn.api import load
from charrnn.corpus import Text, encode, read_texts, split
from charrnn.datasets import DATASETS, write_dataset
from charrnn.errors import InterruptedRun, UsageError
from charrnn.runs import RunFolder
from charrnn.shapes import parameter_count
from charrnn.signals import stop_requests
from charrnn.tokenizers import CharTokenizer, Tokenizer, train_tokenizer

if TYPE_CHECKING:
    from charrnn.checkpoints import SavedModel
    from charrnn.planning import Plan
    from charrnn.scoring import ScoringProtocol
    from charrnn.session import Data, Session

STARTED = time.monotonic()  # a budget of time covers the whole command, so it counts from the import


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `charrnn train` was asked; `settings` are fields of `ModelConfig` and `TrainConfig` that were given."""

    texts: Sequence[str]
    valid: Sequence[str]
    encoding: str
    settings: dict[str, Any]
    preset: str | None
    epochs: float | None
    seconds: float | None
    init_from: Path | None
    out: Path | None
    dry_run: bool
    fresh: bool
    quiet: bool
    json: bool


def train(options: TrainOptions) -> None:
    """Train a model, or continue a run that was interrupted."""
    with ExitStack() as stack:
        view = stack.enter_context(console.TrainingView(quiet=options.quiet))
        stop = stack.enter_context(stop_requests(view.announce_stop))
        text = read_text(options.texts, options.encoding, view)
        folder = RunFolder(options.out or Path("checkpoints") / text.name)
        if not options.dry_run:
            folder.prepare()
            stack.enter_context(folder.lock())
        session = open_session(options, text, folder, view)
        if session is None:
            return
        view.start(session)
        for event in resumable(session.run(stop)):
            view.show(event)
    finish(session, options, view)


def read_text(paths: Sequence[str], encoding: str, view: console.TrainingView) -> Text:
    """Read a text and show what there is to know about the reading."""
    text = read_texts(paths, encoding=encoding)
    for note in text.notes:
        view.say(note)
    return text


def resumable(events: Iterator[Any]) -> Iterator[Any]:
    """Pass events on; if the run is interrupted, say how to go on with it."""
    try:
        yield from events
    except InterruptedRun as interruption:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        interruption.hint = f"Continue with: {shlex.join(['charrnn', *again])}"
        raise


def open_session(
    options: TrainOptions, text: Text, folder: RunFolder, view: console.TrainingView
) -> "Session | None":
    """Continue the run in `folder`, or plan a new one; None if there is nothing to train."""
    from charrnn.planning import Request, make_plan
    from charrnn.session import begin, resume, starting_weights

    start = load(options.init_from).saved if options.init_from else None
    request = Request(
        settings=options.settings,
        preset=options.preset,
        epochs=options.epochs,
        seconds=options.seconds,
        init_from=start.sha256 if start else None,
    )
    if options.fresh and not options.dry_run:
        set_aside(folder, view)
    saved = None if options.dry_run else folder.load_state()
    tokenizer, data = prepare_data(options, text, start, view)
    view.show_text(data, tokenizer)
    if saved is not None:
        arrays, facts, warnings = saved
        for warning in warnings:
            view.warn(f"{warning} Using the state saved before it.")
        session = resume(folder, request, data, (arrays, facts))
        if session.trainer.finished:
            finish(session, options, view, note="This run is already complete; --fresh begins again.")
            return None
        view.say(f"Continuing the run in {folder.path} from step {session.trainer.progress.step:,}.")
        view.show_plan(session.plan)
        return session
    base = start.config if start else None
    plan = make_plan(request, tokenizer, data.train, data.valid, started=STARTED, base=base, measure=options.dry_run)
    view.show_plan(plan)
    if options.dry_run:
        show_dry_run(plan, as_json=options.json)
        return None
    return begin(folder, request, plan, tokenizer, data, starting_weights(start, plan.model) if start else None)


def set_aside(folder: RunFolder, view: console.TrainingView) -> None:
    """Move the run that is there out of the way and say where it is now."""
    old = folder.set_aside()
    if old is not None:
        view.say(f"The run that was in {folder.path} is now in {old}.")


def prepare_data(
    options: TrainOptions, text: Text, start: "SavedModel | None", view: console.TrainingView
) -> tuple[Tokenizer, "Data"]:
    """Divide the text first, then learn the tokenizer from the training part, then encode both."""
    from charrnn.session import Data

    if options.valid:
        if "valid_fraction" in options.settings:
            raise UsageError("--valid and --valid-fraction both say what validates.", "Give one of them.")
        valid = read_text(options.valid, options.encoding, view)
        parts, sha256 = (text.text, valid.text), f"{text.sha256}+{valid.sha256}"
    else:
        fraction = options.settings.get("valid_fraction", 0.1)
        parts, sha256 = split(text.text, fraction), text.sha256
    tokenizer = start_tokenizer(start, parts[0], view) if start else new_tokenizer(options, parts[0])
    train_part, valid_part = (encode(tokenizer, part) for part in parts)
    return tokenizer, Data(text.name, sha256, train_part, valid_part)


def new_tokenizer(options: TrainOptions, text: str) -> Tokenizer:
    """Learn the tokenizer that was asked for."""
    return train_tokenizer(options.settings.get("tokenizer", "char"), text)


def start_tokenizer(start: "SavedModel", text: str, view: console.TrainingView) -> Tokenizer:
    """Extend a model's vocabulary by what the new text has beyond it; every old symbol keeps its id."""
    strangers = start.tokenizer.unknown_characters(text)
    if not strangers:
        return start.tokenizer
    if not isinstance(start.tokenizer, CharTokenizer):
        raise UsageError(f"A {start.tokenizer.kind} vocabulary cannot be extended.")
    shown = " ".join(repr(character) for character in strangers[:20])
    more = f" and {len(strangers) - 20} more" if len(strangers) > 20 else ""
    view.say(f"New to the model, added to its vocabulary: {shown}{more}")
    return start.tokenizer.extended(text)


def finish(session: "Session", options: TrainOptions, view: console.TrainingView, note: str = "") -> None:
    """Say where the model is, how good it is, and what to type next."""
    progress, folder = session.trainer.progress, session.folder
    if note:
        view.say(note)
    view.say(
        f"Best model: {folder.model}, step {progress.best_step:,}, validation {progress.best_nats:.4f} nats "
        f"({progress.best_nats / math.log(2):.3f} bits) per token"
    )
    view.say(f"Next: charrnn sample {shlex.quote(str(folder.path))}")
    if options.json:
        console.write_json(session.summary())


def show_dry_run(plan: "Plan", *, as_json: bool) -> None:
    """Write what a run would need."""
    facts = {
        "parameters": parameter_count(plan.model),
        "memory_bytes": plan.memory_bytes,
        "steps": plan.train.steps,
        "epochs": plan.epochs,
        "seconds": plan.total_seconds,
    }
    if as_json:
        console.write_json(facts | {"model": plan.model.to_dict(), "train": plan.train.to_dict()})
        return
    rows = [
        ("parameters", f"{facts['parameters']:,}"),
        ("memory", f"about {console.megabytes(plan.memory_bytes)} beside torch itself"),
        ("steps", f"{plan.train.steps:,}, {plan.epochs:.1f} epochs"),
        ("time", f"about {console.duration(plan.total_seconds or 0)}"),
    ]
    console.write_table(rows, "Nothing was trained or written. The run would have:")


def sample(model: Path, prompt: str, settings: dict[str, Any], *, seed: int | None, num: int, as_json: bool) -> None:
    """Write new text to standard output, as it is made."""
    if not 1 <= num <= MOST_SAMPLES:
        raise UsageError(f"--num must be at least 1 and at most {MOST_SAMPLES:,}, not {num}.")
    loaded = load(model)
    prompt = sys.stdin.read() if prompt == "-" else prompt
    if seed is None:
        seed = secrets.randbelow(1 << 32)
        console.show_note(f"--seed {seed}")
    elif seed < 0:
        raise UsageError(f"--seed must be at least 0, not {seed}.")
    if as_json:
        texts = loaded.generate_many(prompt, num=num, seed=seed, **settings)
        console.write_json({"prompt": prompt, "texts": texts, "seed": seed, "model": loaded.saved.sha256})
    elif num == 1:
        console.write_text(prompt)
        for piece in loaded.stream(prompt, seed=seed, **settings):
            console.write_text(piece)
        console.write_text("\n")
    else:
        for number, text in enumerate(loaded.generate_many(prompt, num=num, seed=seed, **settings), 1):
            console.write_text(f"--- {number} ---\n{prompt}{text}\n")


MOST_SAMPLES = 65_536


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
    facts = {
        "config": saved.config.to_dict(),
        "parameters": parameter_count(saved.config),
        "tokenizer": saved.tokenizer.kind,
        "sha256": saved.sha256,
        **saved.about,
    }
    if as_json:
        console.write_json(facts)
    else:
        console.write_table(console.info_rows(facts))


def data(name: str | None, folder: Path) -> None:
    """Write a text to try things on, or list those there are."""
    if name is None:
        console.write_table(list(DATASETS.items()))
        return
    path = write_dataset(name, folder)
    console.show_note(f"Next: charrnn train {shlex.quote(str(path))}")
    sys.stdout.write(f"{path}\n")


def version() -> None:
    """Write the version."""
    sys.stdout.write(f"charrnn {charrnn.__version__}\n")


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a JSON or TOML file.

    Raises:
        UsageError: It cannot be read, or is neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    try:
        values = tomllib.loads(content.decode()) if path.suffix == ".toml" else json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}.") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} should hold a table of settings, not {type(values).__name__}.")
    return {name: value for name, value in values.items() if name != "vocab_size" and value is not None}
