"""From the inputs of a run to the run: get a tokenizer, encode the text, then plan or continue.

In a group of processes, the main process loads the saved state and makes the tokenizer, and sends
both to the others.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.data.encoding import EncodedSplit, count
from charrnn.data.id_cache import encode_cached, encode_uncached
from charrnn.data.sources import SourceReader
from charrnn.errors import UsageError, counted
from charrnn.evaluation.overlap import training_overlap
from charrnn.model.shapes import weight_shapes
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ProcessGroup
from charrnn.runtime.precision import possible_precisions
from charrnn.storage.run_folder import SavedState
from charrnn.tokenizers import tokenizer_from_dict
from charrnn.training.events import Busy, Note, Planned, RunEvent, TextRead
from charrnn.training.facts import session
from charrnn.training.inputs import RunInputs
from charrnn.training.plan import Estimate
from charrnn.training.planner import describe_device
from charrnn.training.planning import (
    check_request,
    estimate_with_members,
    make_plan,
    members_that_pay,
)
from charrnn.training.request import TrainRequest
from charrnn.training.resume import (
    Weights,
    begin,
    extended_weights,
    forget_lost_model,
    is_untouched,
    resume,
    saved_tokenizer,
)
from charrnn.training.run import Run
from charrnn.training.sources import (
    encoder_weights,
    example_source,
    new_reader,
    reader_from_dict,
    reader_to_dict,
    with_sources,
)
from charrnn.training.vocabulary import new_tokenizer

MANY = 0.25  # of the held-out text, from which a note says that it stands in the training text

RunSetup = Generator[RunEvent, None, Run | None]  # yields events and returns the run


@dataclass(frozen=True)
class SharedSetup:
    """What the main process prepares for all processes.

    Attributes:
        tokenizer: The tokenizer of the text, as JSON values.
        saved: The state to continue from, or None for a new run.
        notes: Messages for the user.
        reader: What reads the sources of the text's records, as JSON values.
    """

    tokenizer: dict[str, Any]
    saved: SavedState | None
    notes: tuple[str, ...] = ()
    reader: dict[str, Any] | None = None


def open_run(
    request: TrainRequest,
    inputs: RunInputs,
    group: ProcessGroup,
    *,
    started: float,
    plan_only: bool,
) -> RunSetup:
    """Continue the run in its folder, or plan and begin a new one.

    Args:
        request: What was requested.
        inputs: The inputs of the run.
        group: The processes that train together.
        started: `time.monotonic()` when the command started, from which a time budget counts.
        plan_only: Only plan a new run.

    Returns:
        The run, or None if `plan_only`.
    """
    shared = group.on_main(lambda: prepare_shared(request, inputs, group, plan_only=plan_only))
    yield from (Note(note) for note in shared.notes)
    data = group.main_process_first(lambda: encode(shared, inputs, keep=not plan_only))
    yield text_read(data, example_source(inputs.sources))
    if shared.saved is not None:
        run = resume(inputs.folder, inputs.requested, data, shared.saved, group, started)
        record(request, run)
        yield from continued(run, shared.saved)
        return run
    yield from (Note(note) for note in known_before(data))
    base = inputs.start.config if inputs.start else None
    if request.is_timed or plan_only:
        yield Busy("Measuring the speed of this machine")
    planned = make_plan(request, data, started=started, base=base, estimate=plan_only, group=group)
    yield from (Note(note) for note in planned.notes)
    members = members_that_pay(request, planned)
    expected = estimate_with_members(planned, request, members)
    yield Planned(planned.plan, expected, data.teacher_shapes, members)
    if plan_only or members:
        return None
    weights = first_weights(inputs, planned.plan.model)
    run = begin(inputs.folder, inputs.requested, planned, data, weights, group)
    record(request, run)
    return run


def known_before(data: EncodedSplit) -> Iterator[str]:
    """Yield what is said about a held-out text of which training or a teacher knows much."""
    ends = "so that the validation will look better than it is."
    if data.reader is None and (share := data.valid_overlap) >= MANY:
        yield f"About {share:.0%} of the held-out text also stands in the training text, {ends}"
    members = () if data.teacher is None else data.teacher.members
    shares = [training_overlap(one, data.valid).share or 0.0 for one in members]
    if (share := max(shares, default=0.0)) >= MANY:
        yield f"The teacher was trained on about {share:.0%} of the held-out text, {ends}"


def prepare_shared(
    request: TrainRequest, inputs: RunInputs, group: ProcessGroup, *, plan_only: bool
) -> SharedSetup:
    """Load the state to continue from, if there is one, and get the tokenizer."""
    settings, folder = request.settings, inputs.folder
    device = choose_device(settings.get("device", "auto"))  # checked before a run is moved aside
    possible_precisions(settings.get("precision", "auto"), device)
    notes: tuple[str, ...] = ()
    if plan_only:
        saved = None
    elif request.fresh and not group.restarts:  # a run that torchrun restarts is continued
        old, saved = folder.archive(), None
        notes = (f"The run that was in {folder.path} is now in {old}.",) if old else ()
    else:
        saved = folder.load_state()
    if saved is not None and is_untouched(folder, inputs.requested, inputs.text, saved):
        old, saved = folder.archive() if folder.model.exists() else None, None
        notes = (f"The untrained model that was in {folder.path} is now in {old}.",) if old else ()
    if saved is not None:
        tokenizer = saved_tokenizer(folder, inputs.requested, inputs.text, saved)
        return SharedSetup(tokenizer.to_dict(), saved, reader=saved_reader(saved))
    tokenizer, more = new_tokenizer(settings, inputs)
    reader = None
    if inputs.sources is not None:
        reader = new_reader(settings, inputs)
    base = inputs.start.config if inputs.start else None
    _check_has_sources(base, reader)
    source = None if reader is None else reader.config
    check_request(request, tokenizer, inputs.text.train.characters, base, source)
    return SharedSetup(tokenizer.to_dict(), None, (*notes, *more), reader_to_dict(reader))


def first_weights(inputs: RunInputs, model: ModelConfig) -> Weights | None:
    """Return the weights that a new run takes from other models, by name; None if from none."""
    weights = extended_weights(inputs.start, model.vocab_size) if inputs.start else {}
    if inputs.source_start is not None:
        weights |= encoder_weights(inputs.source_start, weight_shapes(model))
    return weights or None


def saved_reader(saved: SavedState) -> dict[str, Any] | None:
    """Return what reads the sources of a saved run, as JSON values, if its records have any."""
    source = saved.facts["model"].get("source")
    return source and {"config": source, "tokenizer": saved.facts.get("source_tokenizer")}


def encode(shared: SharedSetup, inputs: RunInputs, *, keep: bool) -> EncodedSplit:
    """Encode both parts of the text, into the run's folder if `keep`, or else temporary files."""
    tokenizer, reader = tokenizer_from_dict(shared.tokenizer), reader_from_dict(shared.reader)
    folder = inputs.folder
    if keep:
        folder.prepare()  # it may be missing on a machine other than the main process's
        data = encode_cached(tokenizer, inputs.text, folder.ids)
    else:
        data = encode_uncached(tokenizer, inputs.text)
    data = replace(data, teacher=inputs.teacher)
    if reader is None or inputs.sources is None:
        return data
    return with_sources(data, inputs.sources, reader, folder.source_ids if keep else None)


def continued(run: Run, saved: SavedState) -> Iterator[RunEvent]:
    """Yield what the user is told about a run that is continued from a saved state."""
    for sentence in saved.damage:
        yield Note(f"{sentence} Using the state saved before it.", warning=True)
    if problem := forget_lost_model(run):
        yield Note(problem, warning=True)
    if damaged := run.folder.metrics.damaged:
        lines = counted(damaged, "damaged line")
        yield Note(f"Left out {lines} of {run.folder.metrics.path}.", warning=True)
    step = run.trainer.progress.step
    if run.trainer.finished:
        yield Note(
            f"This run is already complete, at step {step:,}. A longer `seconds`, `steps` or "
            "`epochs` trains it further; `fresh` starts again."
        )
        return
    yield Note(run.extension or f"Continuing the run in {run.folder.path} from step {step:,}.")
    before = saved.facts.get("ranks", 1)
    if before != run.group.size:
        processes = f"{before} ranks" if before > 1 else "one process"
        yield Note(
            f"It was started with {processes}. The batch is sharded differently now, so the result "
            "will differ slightly."
        )
    estimate = Estimate(describe_device(run.plan.train, run.group))
    yield Planned(run.plan, estimate, run.data.teacher_shapes)


def record(request: TrainRequest, run: Run) -> None:
    """Record which text a run is of, and when and with what this process trains it."""
    if run.group.is_main:
        own = session(run.trainer.progress.step, run.machine)
        before = run.folder.record.sessions()
        run.folder.record.update(
            {
                "sources": request.sources(),
                "sessions": before if before and run.trainer.finished else [*before, own],
            }
        )


def text_read(data: EncodedSplit, source: str | None = None) -> TextRead:
    """Return the event that describes an encoded text, and perhaps one of its sources."""
    train, valid, unknown = data.train, data.valid, data.tokenizer.unknown
    return TextRead(
        name=data.name,
        characters=train.characters,
        valid_characters=valid.characters,
        records=0 if train.starts is None else len(train.starts),
        valid_records=0 if valid.starts is None else len(valid.starts),
        tokenizer=data.tokenizer.kind,
        vocab_size=data.tokenizer.size,
        unknown=0 if unknown is None else count(valid.ids, unknown),
        source=source,
    )


def _check_has_sources(base: ModelConfig | None, reader: SourceReader | None) -> None:
    if base is not None and base.source is not None and reader is None:
        kind = base.source.source
        raise UsageError(
            "The texts of the `init_from` model depend on a source.", f"Say `source` {kind}."
        )
