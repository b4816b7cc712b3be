"""`charrnn train`: train a model or continue a run, and show what to do next."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.cli.config_file import read_config
from charrnn.cli.options import with_flags
from charrnn.cli.page import page_of_run, write_page
from charrnn.cli.program import program
from charrnn.cli.seeds import in_common, requests_for
from charrnn.config.fields import option
from charrnn.config.ignored import ignored_settings
from charrnn.config.training import LEARN, REPORT
from charrnn.errors import InterruptedRun, UsageError, counted
from charrnn.export.tensorboard import with_event_file
from charrnn.model.shapes import describe_shapes, describe_size, parameter_count, table_size
from charrnn.runtime.distributed import ALONE
from charrnn.runtime.rendezvous import group_from
from charrnn.runtime.signals import exit_at_once, stop_requests
from charrnn.storage.run_folder import RunFolder
from charrnn.terminal.console import show_note, stderr_console, write_json
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import (
    describe_batch,
    format_duration,
    format_megabytes,
    model_features,
    write_table,
)
from charrnn.terminal.training_progress import TrainingProgress
from charrnn.training.events import Finished, Note, Planned, RunEvent, Started, TextRead
from charrnn.training.request import TrainRequest
from charrnn.training.train import training_events


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of `charrnn train`."""

    request: TrainRequest
    config: Path | None = option(
        None,
        "Read settings from this JSON or TOML file, such as a run's config.json",
        group=REPORT,
        metavar="FILE",
    )
    tensorboard: bool = option(
        False, "Also write an event file for TensorBoard into the run folder", group=REPORT
    )
    dry_run: bool = option(False, "Show parameters, memory and time; train nothing", group=REPORT)
    quiet: bool = option(
        False, "Show warnings and errors only", group=REPORT, flags=("--quiet", "-q")
    )
    seeds: int | None = option(
        None,
        "Train this many runs that differ in their seed, in NAME/seed-0, NAME/seed-1 and so on",
        group=LEARN,
    )
    json: bool = option(False, "At the end, write the result as one JSON object", group=REPORT)


# What `--help` shows; `--help-all` shows all.
COMMON = (
    "preset",
    "seconds",
    "steps",
    "resume",
    "fresh",
    "out",
    "init_from",
    "valid",
    "tokenizer",
    "records",
    "cell",
    "num_layers",
    "hidden_size",
    "lr",
    "dry_run",
)


def train(options: TrainOptions) -> None:
    """Train a model on a text, or continue a run that was interrupted."""
    request = with_config(options.request, options.config)
    request.refuse_ignored()
    refuse_unseen(options)
    if options.seeds is None:
        train_one(request, options, show=True)
        return
    if options.dry_run:
        raise UsageError("`seeds` cannot be used with `dry_run`.", "Leave one out.")
    summaries = []
    for number, one in enumerate(requests_for(request, options.seeds), 1):
        if not options.quiet:
            show_note(f"--- run {number} of {options.seeds}: seed {one.settings['seed']} ---")
        last = train_one(one, options, show=False)
        assert isinstance(last, Finished)
        summaries.append(last.summary)
    show_seeds(in_common(summaries), options)


def refuse_unseen(options: TrainOptions) -> None:
    """Raise `UsageError` if an option of the command line would have no effect."""
    given = options.request.settings
    if "sample_every" in given and options.quiet:
        raise UsageError("`sample_every` has no effect with `quiet`.")
    if given.get("backend", "auto") != "auto" and group_from(os.environ) is ALONE:
        raise UsageError("`backend` has no effect in one process.", "Start several by torchrun.")


def train_one(request: TrainRequest, options: TrainOptions, *, show: bool) -> RunEvent | None:
    """Train one model, and return the last event; `show` its result."""
    main = group_from(os.environ).is_main
    with (
        TrainingProgress(quiet=options.quiet, silent=not main) as view,
        stop_requests(view.announce_stop) as stop,
    ):
        events = training_events(
            request, should_stop=stop, on_progress=view.reading, plan_only=options.dry_run
        )
        last, source, page = None, None, False
        if options.tensorboard and main:
            events = with_event_file(events)
        for event in with_resume_hint(events, several=options.seeds is not None):
            if isinstance(event, Started):
                stop()  # from now on, a signal lets the step end and saves it
            if isinstance(event, Planned):
                page = event.plan.train.page  # also if the run was only started with it
            if not (options.dry_run and isinstance(event, Planned)):  # shown as a table below
                view.show(event)
            source = event.source if isinstance(event, TextRead) else source
            last = event
    if main and isinstance(last, Finished):
        show_result(last, view, source, as_json=options.json and show)
        if page:
            write_run_page(request, Path(last.summary["out"]))
    elif main and isinstance(last, Planned):
        show_dry_run(last, as_json=options.json)
    return last


def show_seeds(common: Mapping[str, Any], options: TrainOptions) -> None:
    """Show what several runs have in common, and what to type next."""
    bits, runs = common["valid_bits_per_char"], len(common["runs"])
    spread = "" if bits["std"] is None else f", standard deviation {bits['std']:.4f}"
    if not options.quiet:
        show_note(f"{counted(runs, 'run')}: mean {bits['mean']:.4f} bits per character{spread}")
        show_note(f"Next: {program()} {comparison_of_seeds(common['out'], options.request)}")
    if options.json:
        write_json(common)


def comparison_of_seeds(folder: str, request: TrainRequest) -> str:
    """Return the command that compares runs on what they held out, or else lists them."""
    texts, place = request.valid or request.texts, shlex.quote(folder)
    if len(texts) != 1 or texts[0] == "-" or request.settings.get("source") is not None:
        return f"runs {place}"
    fraction = request.settings.get("valid_fraction", 0.1)
    part = "" if request.valid else f" --valid-fraction {fraction:g}"
    return f"compare {place} {shlex.quote(texts[0])}{part}"


def write_run_page(request: TrainRequest, folder: Path) -> None:
    """Write the page of a run that is complete into its folder."""
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        write_page(page_of_run(request, folder), progress)


def with_config(request: TrainRequest, path: Path | None) -> TrainRequest:
    """Return a request with the settings of a file; the request's own settings take precedence."""
    if path is None:
        return request
    settings = read_config(path, request.settings)
    left_out = set(ignored_settings(settings))
    if (request.epochs, request.seconds, request.preset) != (None, None, None):
        left_out.add("steps")
    if request.valid:
        left_out.add("valid_fraction")
    if not request.may_be_taught:
        left_out.add("teacher_weight")
    for name in left_out - request.settings.keys():
        settings.pop(name, None)
    return replace(request, settings=settings)


def with_resume_hint(events: Iterator[RunEvent], *, several: bool = False) -> Iterator[RunEvent]:
    """Yield events as the command line shows them; if interrupted, add how to continue the run.

    A run that is interrupted before its first step has nothing that could be continued.

    Args:
        events: The events.
        several: It is one of several runs, which the same command continues.
    """
    folder = source = None
    try:
        for event in events:
            folder = event.folder if isinstance(event, Started) else folder
            source = event.source if isinstance(event, TextRead) else source
            yield note_with_flags(event)
    except InterruptedRun as interruption:
        if folder is None:
            raise
        start = "the same torchrun, and " if group_from(os.environ).size > 1 else ""
        resume = resume_command(shlex.quote(folder), several)
        interruption.hint = f"Continue with: {start}{resume}"
        if RunFolder(Path(folder)).last.exists():  # not where its members are trained first
            sample = sample_command(folder, source)
            interruption.hint += f"   Let it write as it is: {sample}"
        raise


def resume_command(folder: str, several: bool) -> str:
    """Return the command that continues the run in a folder; standard input is given again."""
    if several:
        return shlex.join([program(), *(word for word in sys.argv[1:] if word != "--fresh")])
    from_stdin = any(word == "-" for word in sys.argv[1:])
    return f"{program()} train {'- ' * from_stdin}--resume {folder}{' < TEXT' * from_stdin}"


def sample_command(folder: str, source: str | None) -> str:
    """Return the command that lets a run's model write, from a source if its texts have any."""
    given = "" if source is None else f" --source={shlex.quote(source)}"
    return f"{program()} sample {shlex.quote(folder)}{given}"


def note_with_flags(event: RunEvent) -> RunEvent:
    """Return an event, with flags instead of setting names if it is a note."""
    return replace(event, text=with_flags(event.text)) if isinstance(event, Note) else event


def show_result(
    event: Finished, view: TrainingProgress, source: str | None, *, as_json: bool
) -> None:
    """Show where the model is, how good it is, and what to type next.

    Args:
        event: The end of the run.
        view: Where it is shown.
        source: One of the sources of its texts, if they have any.
        as_json: Also write the result as JSON.
    """
    summary = event.summary
    view.say(
        f"Best model: {Path(summary['out']) / 'model.safetensors'}, step {summary['best_step']:,}, "
        f"validation {summary['valid_nats_per_token']:.4f} nats per token, "
        f"{summary['valid_bits_per_char']:.3f} bits per character"
    )
    view.say(f"Next: {sample_command(summary['out'], source)}")
    if as_json:
        write_json(summary)


def show_dry_run(event: Planned, *, as_json: bool) -> None:
    """Write the size, memory and time of the planned run."""
    plan, estimate = event.plan, event.estimate
    facts: dict[str, Any] = {
        "parameters": parameter_count(plan.model),
        "table_parameters": table_size(plan.model),
        "memory_bytes": estimate.memory_bytes,
        "steps": plan.train.steps,
        "epochs": plan.epochs,
        "seconds": estimate.seconds,
    }
    facts |= {"members": event.members} if event.members else {}
    if as_json:
        write_json(facts | {"config": plan.model.to_dict(), "train": plan.train.to_dict()})
        return
    model, train = plan.model, plan.train
    shape = f"{describe_shapes([model])}, dropout {model.dropout:g}"
    batches = f"{describe_batch(model, train)}, {train.optimizer}, learning rate {train.lr:g}"
    teachers = describe_shapes(event.teachers)
    rows = [
        ("model", ", ".join([shape, *model_features(vars(model))])),
        ("training", batches),
        *([("teacher", teachers)] if teachers else []),
        *([("members", f"{event.members}, and a student of them")] * bool(event.members)),
        ("device", f"{estimate.device}, {plan.precision}"),
        ("size", describe_size(plan.model)),
        ("memory", f"about {format_megabytes(estimate.memory_bytes or 0)} besides torch itself"),
        ("steps", f"{train.steps:,}, {plan.epochs:.1f} epochs"),
        ("time", f"about {format_duration(estimate.seconds or 0)}"),
    ]
    write_table(rows, "Nothing was trained or written. The run would have:")
