"""How `charrnn train` comes to a session.

Read the text, find the run in its folder, plan or continue.

With several ranks, what costs little every one does for itself. What has one right place, the run's
folder and the vocabulary, the first one sees to, and the others are told.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.api import load
from charrnn.commands.parts import Division, divide, read_text
from charrnn.commands.train_options import TrainOptions
from charrnn.config.schema import flag
from charrnn.data.id_cache import encode_kept, encode_once
from charrnn.data.text import strangers
from charrnn.errors import UsageError
from charrnn.runtime.distributed import Ranks
from charrnn.storage.run_folder import RunFolder
from charrnn.terminal.training_progress import TrainingView
from charrnn.tokenizers import CharTokenizer, Tokenizer, tokenizer_from_dict, train_tokenizer
from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.storage.container import Arrays, SavedModel
    from charrnn.terminal.reading_progress import ReadingView
    from charrnn.training.plan import Plan, Request
    from charrnn.training.run import Data, Session

STARTED = (
    time.monotonic()
)  # a budget of time covers the whole command, so it counts from the import


@dataclass(frozen=True)
class Beginning:
    """What a rank has found before it hears of the others.

    Attributes:
        folder: The run's; locked if this rank is the first.
        request: What was asked for.
        start: The model to start from.
        saved: The state to continue from, and warnings about newer ones, if this rank is the first
            and there is one.
        parts: The text, divided.
    """

    folder: RunFolder
    request: "Request"
    start: "SavedModel | None"
    saved: "tuple[Arrays, dict[str, Any], list[str]] | None"
    parts: Division


def open_session(
    options: TrainOptions, ranks: Ranks, view: TrainingView, stack: ExitStack
) -> "tuple[Session | None, Plan]":
    """Continue the run in its folder, or plan a new one.

    Args:
        options: What was asked for.
        ranks: Those that train together, who all come here at once.
        view: Shows what is found.
        stack: Holds the folder's lock.

    Returns:
        The session, unless nothing is to be trained, and its plan.
    """
    with view.reading() as reading:
        found = ranks.together(lambda: look(options, ranks, view, reading, stack))
        ranks.check_same(identity(found), "Give every rank the same options and the same text.")
        saved = ranks.from_first(found.saved)
        learned = ranks.together(
            lambda: first_tokenizer(options, found, view) if ranks.first else None
        )
        tokenizer = tokenizer_from_dict(ranks.from_first(learned.to_dict() if learned else {}))
        data = ranks.in_turn(lambda: encode(tokenizer, found, keep=not options.dry_run))
    view.show_text(data, tokenizer)
    if saved is not None:
        session = continued(found.folder, found.request, data, saved, ranks, view)
        return session, session.plan
    return planned(options, found, tokenizer, data, ranks, view)


def continued(
    folder: RunFolder,
    request: "Request",
    data: "Data",
    saved: "tuple[Arrays, dict[str, Any], list[str]]",
    ranks: Ranks,
    view: TrainingView,
) -> "Session":
    """Return the session of a run that is gone on with."""
    from charrnn.training.resume import resume

    arrays, facts, warnings = saved
    for warning in warnings:
        view.warn(f"{warning} Using the state saved before it.")
    session = resume(folder, request, data, (arrays, facts), ranks)
    if session.trainer.finished:
        view.say("This run is already complete; --fresh begins again.")
        return session
    view.say(f"Continuing the run in {folder.path} from step {session.trainer.progress.step:,}.")
    if (before := facts.get("ranks", 1)) != ranks.size:
        were = f"{before} ranks" if before > 1 else "one process"
        view.say(
            f"It was begun by {were}: rows and dropout are dealt anew, so the result will differ a little."
        )
    view.show_plan(session.plan)
    return session


def planned(
    options: TrainOptions,
    found: Beginning,
    tokenizer: Tokenizer,
    data: "Data",
    ranks: Ranks,
    view: TrainingView,
) -> "tuple[Session | None, Plan]":
    """Return the plan of a new run, and its session if something is to be trained."""
    from charrnn.training.plan import make_plan
    from charrnn.training.resume import begin, starting_weights

    plan = make_plan(
        found.request,
        tokenizer,
        data.train,
        data.valid,
        started=STARTED,
        base=found.start.config if found.start else None,
        measure=options.dry_run,
        ranks=ranks,
    )
    ranks.check_same({"The precision": plan.precision}, "Say which one with --precision.")
    view.show_plan(plan)
    if options.dry_run:
        return None, plan
    weights = starting_weights(found.start, plan.model) if found.start else None
    return begin(found.folder, found.request, plan, tokenizer, data, weights, ranks), plan


def look(
    options: TrainOptions,
    ranks: Ranks,
    view: TrainingView,
    reading: "ReadingView",
    stack: ExitStack,
) -> Beginning:
    """Read and check what was given.

    The first rank locks the run's folder, and loads what was saved there.
    """
    if ranks.size > 1 and "-" in (*options.texts, *options.valid):
        raise UsageError("Several ranks cannot read one standard input.", "Give them a file.")
    text = read_text(
        options.texts, options.encoding, view
    )  # before torch is imported: a wrong name is told at once
    from charrnn.runtime.device import choose_device, choose_precision
    from charrnn.training.plan import Request

    folder = RunFolder(options.out or Path("checkpoints") / text.name)
    writing = ranks.first and not options.dry_run
    if writing:
        folder.prepare()
        stack.enter_context(folder.lock())
    start = load(options.init_from).saved if options.init_from else None
    request = Request(
        settings=options.settings,
        preset=options.preset,
        epochs=options.epochs,
        seconds=options.seconds,
        init_from=start.sha256 if start else None,
    )
    choose_precision(
        options.settings.get("precision", "auto"),
        choose_device(options.settings.get("device", "auto")),
    )
    if options.fresh and writing and not ranks.restarts:  # what torchrun begins again is to go on
        set_aside(folder, view)
    saved = folder.load_state() if writing else None
    return Beginning(folder, request, start, saved, divide(options, text, view, reading))


def identity(found: Beginning) -> dict[str, str]:
    """Return what has to be the same on every rank, by the name that an error calls it."""
    asked = [f"{flag(name)} {value}" for name, value in sorted(found.request.to_dict().items())]
    return {
        "The version of charrnn": __version__,
        "What was asked for": " ".join(asked) or "nothing",
        "The SHA-256 of the text": f"{found.parts.sha256[:12]}...",
    }


def first_tokenizer(options: TrainOptions, found: Beginning, view: TrainingView) -> Tokenizer:
    """Return the tokenizer of the run that is gone on with, or of the model to start from, or learn a new one."""
    from charrnn.training.plan import check_request
    from charrnn.training.resume import saved_tokenizer

    start, parts = found.start, found.parts
    if found.saved is not None:
        return saved_tokenizer(
            found.folder, found.request, parts.name, parts.sha256, found.saved[1]
        )
    if start:
        check_kept_vocabulary(start, options.settings)
    tokenizer = start_tokenizer(start, parts, view) if start else new_tokenizer(options, parts)
    check_request(found.request, tokenizer, parts.train, start.config if start else None)
    return tokenizer


def set_aside(folder: RunFolder, view: TrainingView) -> None:
    """Move the run that is there out of the way and say where it is now."""
    old = folder.set_aside()
    if old is not None:
        view.say(f"The run that was in {folder.path} is now in {old}.")


def encode(tokenizer: Tokenizer, found: Beginning, *, keep: bool) -> "Data":
    """Encode both parts of the text, into the run's folder or for this process alone."""
    from charrnn.training.run import Data

    parts = found.parts
    records = parts.separator is not None
    if keep:
        found.folder.prepare()  # of another machine than the first rank's
        key = f"{parts.sha256} {parts.train} {parts.separator!r}"
        encoded = encode_kept(
            tokenizer, lambda: parts.open("Encoding"), found.folder.ids, key, records=records
        )
    else:
        encoded = encode_once(tokenizer, parts.open("Encoding"), records=records)
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
                f"{flag(name)} cannot differ from the --init-from model's, which is {kept[name]}."
            )


def start_tokenizer(start: "SavedModel", parts: Division, view: TrainingView) -> Tokenizer:
    """Extend a model's vocabulary by what the new text has beyond it.

    Every old symbol keeps its id.
    """
    new = strangers(start.tokenizer, parts.open("Comparing the vocabulary")[0])
    if not new:
        return start.tokenizer
    if not isinstance(start.tokenizer, CharTokenizer):
        raise UsageError(f"A {start.tokenizer.kind} vocabulary cannot be extended.")
    shown = " ".join(repr(character) for character in new[:20])
    more = f" and {len(new) - 20} more" if len(new) > 20 else ""
    view.say(f"New to the model, added to its vocabulary: {shown}{more}")
    return start.tokenizer.extended("".join(new))
