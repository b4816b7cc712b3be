"""`charrnn train`: read, plan or continue, train, and say what to do next."""

import hashlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn import console
from charrnn.api import load
from charrnn.config import check_settings
from charrnn.corpus import Text, read_texts, strangers
from charrnn.division import cut, training_part
from charrnn.errors import InterruptedRun, UsageError
from charrnn.mapped import encode_kept, encode_once
from charrnn.records import cut_records, separator_of, survey
from charrnn.runs import RunFolder
from charrnn.shapes import parameter_count
from charrnn.signals import stop_at_once, stop_requests
from charrnn.tokenizers import CharTokenizer, Tokenizer, train_tokenizer
from charrnn.view import TrainingView

if TYPE_CHECKING:
    from charrnn.checkpoints import SavedModel
    from charrnn.planning import Plan
    from charrnn.reading import ReadingView
    from charrnn.session import Data, Session

STARTED = time.monotonic()  # a budget of time covers the whole command, so it counts from the import

Open = Callable[[str], tuple[Iterator[str], Iterator[str]]]


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


@dataclass(frozen=True)
class Division:
    """A text divided into what trains and what validates.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that stands for both parts.
        train: Characters of the training part.
        open: Begins to read the parts, given what the reading is for; the first is to be read before the second.
        separator: What ends a record, if the text consists of records; the parts are read record by record then.
    """

    name: str
    sha256: str
    train: int
    open: Open
    separator: str | None = None


def train(options: TrainOptions) -> None:
    """Train a model, or continue a run that was interrupted."""
    check_settings(options.settings)
    with ExitStack() as stack:
        view = stack.enter_context(TrainingView(quiet=options.quiet))
        with stop_at_once():
            text = read_text(options.texts, options.encoding, view)
            folder = RunFolder(options.out or Path("checkpoints") / text.name)
            if not options.dry_run:
                folder.prepare()
                stack.enter_context(folder.lock())
            session = open_session(options, text, folder, view)
        if session is None:
            return
        stop = stack.enter_context(stop_requests(view.announce_stop))
        view.start(session)
        for event in resumable(session.run(stop)):
            view.show(event)
    finish(session, options, view)


def read_text(paths: Sequence[str], encoding: str, view: TrainingView) -> Text:
    """Read a text and show what there is to know about the reading."""
    with view.reading() as reading:
        text = read_texts(paths, encoding=encoding, watch=reading.measured)
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
    from charrnn.planning import Request, check_request, make_plan
    from charrnn.starting import begin, resume, saved_tokenizer, starting_weights

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
    base = start.config if start else None
    with view.reading() as reading:
        parts = divide(options, text, view, reading)
        if saved is not None:
            tokenizer = saved_tokenizer(folder, request, parts.name, parts.sha256, saved[1])
        else:
            if start:
                check_kept_vocabulary(start, options.settings)
            tokenizer = start_tokenizer(start, parts, view) if start else new_tokenizer(options, parts)
            check_request(request, tokenizer, parts.train, base)
        data = encode(tokenizer, parts, None if options.dry_run else folder.ids)
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


def divide(options: TrainOptions, text: Text, view: TrainingView, reading: "ReadingView") -> Division:
    """Divide the text before anything is learned from it."""
    if options.valid and "valid_fraction" in options.settings:
        raise UsageError("--valid and --valid-fraction both say what validates.", "Give one of them.")
    valid, sha256 = None, text.sha256
    if options.valid:
        valid = read_text(options.valid, options.encoding, view)
        sha256 = hashlib.sha256(f"{text.sha256}{valid.sha256}".encode()).hexdigest()
    fraction, separator = options.settings.get("valid_fraction", 0.1), separator_of(options.settings.get("records"))
    if separator is not None:
        length, parts = divide_records(text, valid, fraction, separator, view, reading)
        return Division(text.name, sha256, length, parts, separator)
    if valid is None:
        length = training_part(text.characters, fraction)
        return Division(text.name, sha256, length, lambda why: cut(reading.passing(why, text), length))
    return Division(
        text.name, sha256, text.characters, lambda why: (reading.passing(why, text), reading.passing(why, valid))
    )


def divide_records(
    text: Text, valid: Text | None, fraction: float, separator: str, view: TrainingView, reading: "ReadingView"
) -> tuple[int, Open]:
    """Divide a text into records that train and records that validate, these from a text of their own if there is one.

    Returns:
        Characters of the training part, and what begins to read both.
    """
    found = survey(reading.passing("Finding the records", text), separator, text.name)
    if found.blank:
        view.say(f"Left out {found.blank:,} blank record{'s' if found.blank > 1 else ''}.")
    if valid is not None:
        return found.characters, lambda why: (
            cut_records(reading.passing(why, text), separator),
            cut_records(reading.passing(why, valid), separator),
        )
    sides = found.divided(fraction)
    return sides.train, lambda why: (
        sides.training(reading.passing(why, text)),
        sides.validating(reading.passing(why, text)),
    )


def encode(tokenizer: Tokenizer, parts: Division, path: Path | None) -> "Data":
    """Encode both parts, into a file at `path` if there is one to be."""
    from charrnn.session import Data

    records = parts.separator is not None
    if path is None:
        encoded = encode_once(tokenizer, parts.open("Encoding"), records=records)
    else:
        key = f"{parts.sha256} {parts.train} {parts.separator!r}"
        encoded = encode_kept(tokenizer, lambda: parts.open("Encoding"), path, key, records=records)
    return Data(parts.name, parts.sha256, *encoded)


def new_tokenizer(options: TrainOptions, parts: Division) -> Tokenizer:
    """Learn the tokenizer that was asked for, from the training part."""
    settings, chunks = options.settings, parts.open("Learning the vocabulary")[0]
    return train_tokenizer(settings.get("tokenizer", "char"), chunks, settings.get("vocab_size"))


def check_kept_vocabulary(start: "SavedModel", settings: dict[str, Any]) -> None:
    """Raise `UsageError` if another tokenizer is asked for than that of the model to start from."""
    kept = {"tokenizer": start.tokenizer.kind, "vocab_size": start.tokenizer.size}
    for name in kept:
        if settings.get(name) not in (None, kept[name]):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot differ from the --init-from model's, which is {kept[name]}."
            )


def start_tokenizer(start: "SavedModel", parts: Division, view: TrainingView) -> Tokenizer:
    """Extend a model's vocabulary by what the new text has beyond it; every old symbol keeps its id."""
    new = strangers(start.tokenizer, parts.open("Comparing the vocabulary")[0])
    if not new:
        return start.tokenizer
    if not isinstance(start.tokenizer, CharTokenizer):
        raise UsageError(f"A {start.tokenizer.kind} vocabulary cannot be extended.")
    shown = " ".join(repr(character) for character in new[:20])
    more = f" and {len(new) - 20} more" if len(new) > 20 else ""
    view.say(f"New to the model, added to its vocabulary: {shown}{more}")
    return start.tokenizer.extended("".join(new))


def finish(session: "Session", options: TrainOptions, view: TrainingView, note: str = "") -> None:
    """Say where the model is, how good it is, and what to type next."""
    progress, folder = session.trainer.progress, session.folder
    if note:
        view.say(note)
    view.say(
        f"Best model: {folder.model}, step {progress.best_step:,}, validation {progress.best_nats:.4f} nats per token, "
        f"{session.summary()['valid_bits_per_char']:.3f} bits per character"
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
