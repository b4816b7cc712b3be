"""`charrnn train`: read, plan or continue, train, and say what to do next."""

import hashlib
import math
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import console
from charrnn.api import load
from charrnn.config import check_settings
from charrnn.corpus import Text, read_texts
from charrnn.errors import InterruptedRun, UsageError
from charrnn.records import check_separator, count_blank, divide, encode_text, separator_of
from charrnn.runs import RunFolder
from charrnn.shapes import parameter_count
from charrnn.signals import stop_requests
from charrnn.tokenizers import CharTokenizer, Tokenizer, train_tokenizer
from charrnn.view import TrainingView

if TYPE_CHECKING:
    from charrnn.checkpoints import SavedModel
    from charrnn.planning import Plan
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
    check_settings(options.settings)
    with ExitStack() as stack:
        view = stack.enter_context(TrainingView(quiet=options.quiet))
        stop = stack.enter_context(stop_requests(view.announce_stop))
        text = read_text(options.texts, options.encoding, view)
        folder = RunFolder(options.out or Path("checkpoints") / text.name)
        if not options.dry_run:
            folder.prepare()
            stack.enter_context(folder.lock())
        session = open_session(options, text, folder, view)
        if session is None:
            return
        if signal_number := stop():
            raise InterruptedRun("Stopped before the first step.", signal_number=signal_number)
        view.start(session)
        for event in resumable(session.run(stop)):
            view.show(event)
    finish(session, options, view)


def read_text(paths: Sequence[str], encoding: str, view: TrainingView) -> Text:
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


def open_session(options: TrainOptions, text: Text, folder: RunFolder, view: TrainingView) -> "Session | None":
    """Continue the run in `folder`, or plan a new one; None if there is nothing to train."""
    from charrnn.machine import choose_device, choose_precision
    from charrnn.planning import Request, make_plan
    from charrnn.starting import begin, resume, starting_weights

    start = load(options.init_from).saved if options.init_from else None
    request = Request(
        settings=options.settings,
        preset=options.preset,
        epochs=options.epochs,
        seconds=options.seconds,
        init_from=start.sha256 if start else None,
    )
    choose_precision(options.settings.get("precision", "auto"), choose_device(options.settings.get("device", "auto")))
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


def set_aside(folder: RunFolder, view: TrainingView) -> None:
    """Move the run that is there out of the way and say where it is now."""
    old = folder.set_aside()
    if old is not None:
        view.say(f"The run that was in {folder.path} is now in {old}.")


def prepare_data(
    options: TrainOptions, text: Text, start: "SavedModel | None", view: TrainingView
) -> tuple[Tokenizer, "Data"]:
    """Divide the text first, then learn the tokenizer from the training part, then encode both."""
    from charrnn.session import Data

    separator = separator_of(options.settings.get("records"))
    if separator is not None:
        check_separator(text.text, separator, text.name)
        if blank := count_blank(text.text, separator):
            view.say(f"Left out {blank:,} blank record{'s' if blank > 1 else ''}.")
    if options.valid:
        if "valid_fraction" in options.settings:
            raise UsageError("--valid and --valid-fraction both say what validates.", "Give one of them.")
        valid = read_text(options.valid, options.encoding, view)
        parts, sha256 = (text.text, valid.text), hashlib.sha256(f"{text.sha256}{valid.sha256}".encode()).hexdigest()
    else:
        fraction = options.settings.get("valid_fraction", 0.1)
        parts, sha256 = divide(text.text, fraction, separator), text.sha256
    tokenizer = start_tokenizer(start, parts[0], view) if start else new_tokenizer(options, parts[0])
    train_part, valid_part = (encode_text(tokenizer, part, separator) for part in parts)
    return tokenizer, Data(text.name, sha256, train_part, valid_part)


def new_tokenizer(options: TrainOptions, text: str) -> Tokenizer:
    """Learn the tokenizer that was asked for."""
    return train_tokenizer(options.settings.get("tokenizer", "char"), [text])


def start_tokenizer(start: "SavedModel", text: str, view: TrainingView) -> Tokenizer:
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


def finish(session: "Session", options: TrainOptions, view: TrainingView, note: str = "") -> None:
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
