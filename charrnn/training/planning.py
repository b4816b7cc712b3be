"""From a request to a plan: choose the settings that were not given, measuring speed if needed."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial

from charrnn.config.model import ModelConfig
from charrnn.config.presets import MEMBERS, MEMBERS_PAY, max_epochs
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.windows import curriculum
from charrnn.data.encoding import Encoded, EncodedSplit
from charrnn.errors import counted
from charrnn.runtime.device import choose_device, prepare_cpu, processes_per_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.precision import Precision
from charrnn.tokenizers import Tokenizer
from charrnn.training.memory import check_memory, max_tokens, memory_bytes, teacher_bytes
from charrnn.training.plan import Estimate, Plan, text_length, with_settings_for_length
from charrnn.training.precision import choose_precision
from charrnn.training.request import TrainRequest
from charrnn.training.settings import choose_settings
from charrnn.training.throughput import (
    MEASURED_SECONDS,
    Throughput,
    measure_throughput,
    validation_settings,
)
from charrnn.training.time_budget import SECONDS_TO_SAVE, UNLIMITED, TimeBudget, choose_threads
from charrnn.training.width import with_fitting_width

FORWARD_SHARE = 1 / 3  # of a step's time
MEASURED_SHARE = 0.05  # of a time budget, for measuring the speed, at most


@dataclass(frozen=True)
class PlannedRun:
    """A plan, an estimate of what it takes, the time budget if the run has one, and notes."""

    plan: Plan
    estimate: Estimate
    budget: TimeBudget | None = None
    notes: tuple[str, ...] = ()


def check_request(
    request: TrainRequest,
    tokenizer: Tokenizer,
    length: int,
    base: ModelConfig | None = None,
    source: SourceConfig | None = None,
) -> None:
    """Raise the errors of `make_plan` that do not depend on the encoded text.

    Those are contradictory settings, and a model that is too large for the memory even without its
    activations.

    Args:
        request: What was requested.
        tokenizer: The tokenizer of the training text.
        length: Characters of the training text.
        base: The model to start from.
        source: What the records depend on.
    """
    model, config = choose_settings(request, tokenizer, length, base, source)
    check_memory(memory_bytes(model, [(config.batch_size, 1)]), config)  # a lower bound


def make_plan(
    request: TrainRequest,
    data: EncodedSplit,
    *,
    started: float,
    base: ModelConfig | None = None,
    estimate: bool = False,
    group: ProcessGroup = ALONE,
) -> PlannedRun:
    """Return a plan with all settings that the request does not give.

    Args:
        request: What was requested.
        data: The text.
        started: `time.monotonic()` when the command started, from which a time budget counts.
        base: The model to start from, whose shape is then used.
        estimate: Measure the speed even if no setting depends on it.
        group: The processes that will train together. All call this at once and get the same plan.

    Raises:
        UsageError: A setting is unknown or out of range.
        TextError: The training text has fewer than two symbols.
        MachineError: The device is not available, or has too little memory.
    """
    length, source = text_length(data.train), data.source
    model, config = choose_settings(request, data.tokenizer, length, base, source)
    prepare_cpu(config.threads, group.local_size)
    epoch, needed = _workload(model, config, data, group)
    precision = _precision_if_it_fits(model, config, needed, group)
    throughput, scoring_cost, max_steps = None, None, UNLIMITED
    tokens, whole = epoch * len(data.train.ids), len(data.valid.ids)
    if request.is_timed and base is None:
        measure = partial(
            measure_throughput,
            config=replace(config, seq_len_start=None),
            precision=precision.name,
            data=data,
            group=group,
        )
        (elapsed,) = group.max(time.monotonic() - started)
        left = request.budget - elapsed - SECONDS_TO_SAVE
        fitting = with_fitting_width(request, model, length, epoch, left, measure)
        if fitting != model:
            model, (_, needed) = fitting, _workload(fitting, config, data, group)
            precision = _precision_if_it_fits(model, config, needed, group)
    if request.is_timed or estimate:
        throughput, config = _measure(request, model, config, precision.name, data, group)
    if request.is_timed and throughput is not None:
        (elapsed,) = group.max(time.monotonic() - started)
        left = request.budget - elapsed - SECONDS_TO_SAVE
        max_steps = _max_steps(request, data.train, model, epoch)
        steps = throughput.steps_within(left, max_steps)
        scoring_cost = throughput.evaluation / whole / (throughput.step / tokens)
    else:
        steps = config.steps if request.epochs is None else math.ceil(request.epochs / epoch)
    validation = validation_settings(steps, tokens, whole, request.settings, scoring_cost)
    plan = Plan(
        model=model,
        train=replace(config, steps=steps, **validation),
        precision=precision.name,
        epochs=steps * epoch,
    )
    given = request.requested(teacher=request.teacher)
    plan = with_settings_for_length(plan, length, given, is_new=base is None)
    estimated, budget = Estimate(describe_device(config, group), needed), None
    if throughput is not None:
        estimated = replace(estimated, seconds=throughput.seconds(plan.train, whole))
        if request.is_timed:
            reserved = throughput.after_last_step(plan.train, whole)
            budget = TimeBudget(started + request.budget, max_steps, reserved)
    notes = (precision.note,) if precision.note else ()
    return PlannedRun(plan, estimated, budget, notes)


def members_that_pay(request: TrainRequest, planned: PlannedRun) -> int:
    """Return how many members are to be trained before the run that was planned; 0 for none.

    A preset uses them where what helps a single model takes a small part of its time.
    """
    if not request.may_have_members:
        return 0
    if request.members is not None:
        return request.members
    seconds = planned.estimate.seconds
    return MEMBERS if seconds and seconds * MEMBERS_PAY <= request.budget else 0


def estimate_with_members(planned: PlannedRun, request: TrainRequest, members: int) -> Estimate:
    """Return what a run takes with its members, from the estimate of one of them.

    Each member takes the steps of a model alone, and adds a forward pass to those of the student.
    """
    alone, model = planned.estimate, planned.plan.model
    if not members or alone.memory_bytes is None:
        return alone
    needed = alone.memory_bytes + teacher_bytes([model] * members)
    seconds = (alone.seconds or 0.0) * (1 + members + FORWARD_SHARE * members)
    seconds = min(seconds, request.budget) if request.is_timed else seconds
    return replace(alone, memory_bytes=needed, seconds=seconds or None)


def _precision_if_it_fits(
    model: ModelConfig, config: TrainConfig, needed: int, group: ProcessGroup
) -> Precision:
    """Return the number format to train in, after checking that there is memory for it."""
    sharing = processes_per_device(choose_device(config.device), group.local_size)
    group.all_or_none(lambda: check_memory(needed * sharing, config))
    return choose_precision(model, config, group)


def _measure(
    request: TrainRequest,
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    data: EncodedSplit,
    group: ProcessGroup,
) -> tuple[Throughput, TrainConfig]:
    """Return a configuration's throughput, and the configuration with the fastest threads."""
    full_length, seconds = replace(config, seq_len_start=None), MEASURED_SECONDS
    if request.is_timed:
        seconds = min(seconds, MEASURED_SHARE * request.budget)
    measure = partial(
        measure_throughput, model, full_length, precision, data, group, seconds=seconds
    )
    throughput, threads = choose_threads(measure, config, group)
    return throughput.scaled(mean_length(config)), replace(config, threads=threads)


def _workload(
    model: ModelConfig, config: TrainConfig, data: EncodedSplit, group: ProcessGroup
) -> tuple[float, int]:
    """Return the fraction of an epoch that a step is, and the bytes of memory a process needs."""
    full_length = replace(config, seq_len_start=None)
    train = data.train
    batcher = make_batcher(train.ids, full_length, model.vocab_size, train.starts, train.sources)
    parts = group.size * config.accumulate
    shapes = {(-(-rows // parts), *steps) for rows, *steps in batcher.shapes()}
    needed = memory_bytes(model, shapes, max_tokens(data.valid), data.teacher_shapes)
    return mean_length(config) / batcher.steps_per_epoch(), needed


def _max_steps(request: TrainRequest, train: Encoded, model: ModelConfig, epoch: float) -> int:
    """Return the most steps that a time budget may use.

    A preset stops where more epochs do not help; an explicit time is used in full.
    """
    if request.seconds is not None:
        return UNLIMITED
    return math.ceil(max_epochs(text_length(train), model.cell) / epoch)


def mean_length(config: TrainConfig) -> float:
    """Return the mean sequence length of a run's steps as a fraction of `seq_len`."""
    lengths = curriculum(config)
    return (1 + sum(lengths) / len(lengths) / config.seq_len) / 2 if lengths else 1.0


def describe_device(config: TrainConfig, group: ProcessGroup = ALONE) -> str:
    """Set the number of threads, and return a description of the device, for display."""
    threads = prepare_cpu(config.threads, group.local_size)
    kind = choose_device(config.device).type
    name = f"cpu with {counted(threads, 'thread')}" if kind == "cpu" else kind
    return name if group.size == 1 else f"{group.size} ranks, each on {name}"
