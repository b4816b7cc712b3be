"""From a request to a plan: choose the settings that were not given, measuring speed if needed."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.config.presets import MEMBERS, MEMBERS_PAY, max_epochs
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.windows import curriculum
from charrnn.data.encoding import EncodedSplit
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
from charrnn.training.width import PROBE_SECONDS, PROBE_SHARE, with_fitting_width

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
    planner = _Planner(request, data, config, started, group, is_new=base is None)
    precision = planner.precision(model)
    if request.is_timed and base is None:
        fitting = planner.with_fitting_width(model, precision.name)
        if fitting != model:
            model, precision = fitting, planner.precision(fitting)
    throughput, threads = None, config.threads
    if request.is_timed:  # n-grams and dropout, which take time, depend on the epochs
        model = planner.plan(model, precision, planner.glance(model, precision.name)).model
    if request.is_timed or estimate:
        throughput, threads = planner.measure(model, precision.name)
    timed = throughput if request.is_timed else None  # no setting depends on it otherwise
    plan = planner.plan(model, precision, timed, threads)
    planner.check_memory(plan.model)
    estimate_of_plan, budget = planner.estimate(plan, throughput), planner.budget(plan, timed)
    notes = (precision.note,) if precision.note else ()
    return PlannedRun(plan, estimate_of_plan, budget, notes)


class _Planner:
    """The steps of making a plan, and what they depend on: request, text, settings and machine.

    `timed` is the throughput of a run with a time budget, and None for a run without one.

    Attributes:
        length: Length of the training text; see `text_length`.
        whole: Tokens of the validation text.
        epoch: Fraction of an epoch that a step of the run is.
    """

    def __init__(
        self,
        request: TrainRequest,
        data: EncodedSplit,
        config: TrainConfig,
        started: float,
        group: ProcessGroup,
        *,
        is_new: bool,
    ) -> None:
        self.request, self.data, self.group, self.started = request, data, group, started
        self.is_new = is_new
        self.train = config
        self.config = replace(config, seq_len_start=None)  # the longest sequences of a curriculum
        self.mean_length = mean_length(config)
        self.length, self.whole = text_length(data.train), len(data.valid.ids)
        train = data.train
        batcher = make_batcher(
            train.ids, self.config, data.tokenizer.size, train.starts, train.sources
        )
        self.epoch = self.mean_length / batcher.steps_per_epoch()
        parts = group.size * config.accumulate
        self.shapes = {(-(-rows // parts), *steps) for rows, *steps in batcher.shapes()}

    def precision(self, model: ModelConfig) -> Precision:
        """Return the number format to train in, after checking that there is memory for it."""
        self.check_memory(model)
        return choose_precision(model, self.config, self.group)

    def check_memory(self, model: ModelConfig) -> None:
        """Raise an error in all processes if one of them has too little memory."""
        config, group = self.config, self.group
        sharing = processes_per_device(choose_device(config.device), group.local_size)
        group.all_or_none(lambda: check_memory(self.bytes_needed(model) * sharing, config))

    def bytes_needed(self, model: ModelConfig) -> int:
        """Return the bytes of memory that a process needs."""
        data = self.data
        return memory_bytes(model, self.shapes, max_tokens(data.valid), data.teacher_shapes)

    def with_fitting_width(self, model: ModelConfig, precision: str) -> ModelConfig:
        """Return the model's shape with a width that suits the time budget."""
        measure, left = partial(self.throughput, precision=precision), self.seconds_left()
        return with_fitting_width(self.request, model, self.length, self.epoch, left, measure)

    def plan(
        self,
        model: ModelConfig,
        precision: Precision,
        timed: Throughput | None,
        threads: int | None = None,
    ) -> Plan:
        """Return the plan of a run with a model of that shape, with what suits its length."""
        steps = self.steps(model, timed)
        settings = self.validation(steps, timed)
        train = replace(self.train, threads=threads, steps=steps, **settings)
        epochs = steps * self.epoch
        plan = Plan(model=model, train=train, precision=precision.name, epochs=epochs)
        given = self.request.requested(teacher=self.request.teacher)
        return with_settings_for_length(plan, self.data.train, given, is_new=self.is_new)

    def glance(self, model: ModelConfig, precision: str) -> Throughput:
        """Return roughly a configuration's throughput, measured in a moment."""
        seconds = min(PROBE_SECONDS, PROBE_SHARE * self.request.budget)
        return self.throughput(model, precision, seconds=seconds).scaled(self.mean_length)

    def measure(self, model: ModelConfig, precision: str) -> tuple[Throughput, int | None]:
        """Return a configuration's throughput, and the fastest number of threads."""
        seconds = MEASURED_SECONDS
        if self.request.is_timed:
            seconds = min(seconds, MEASURED_SHARE * self.request.budget)
        measure = partial(self.throughput, model, precision, seconds=seconds)
        throughput, threads = choose_threads(measure, self.config, self.group)
        return throughput.scaled(self.mean_length), threads

    def throughput(self, model: ModelConfig, precision: str, *, seconds: float) -> Throughput:
        """Return a configuration's throughput with sequences of full length."""
        return measure_throughput(
            model, self.config, precision, self.data, self.group, seconds=seconds
        )

    def seconds_left(self) -> float:
        """Return what is left of the time budget."""
        (elapsed,) = self.group.max(time.monotonic() - self.started)
        return self.request.budget - elapsed - SECONDS_TO_SAVE

    def max_steps(self, model: ModelConfig) -> int:
        """Return the most steps that a time budget may use.

        A preset stops where more epochs do not help; an explicit time is used in full.
        """
        if self.request.seconds is not None:
            return UNLIMITED
        return math.ceil(max_epochs(self.length, model.cell) / self.epoch)

    def steps(self, model: ModelConfig, timed: Throughput | None) -> int:
        """Return the steps of the run."""
        if timed is not None:
            return timed.steps_within(self.seconds_left(), self.max_steps(model))
        epochs = self.request.epochs
        return self.config.steps if epochs is None else math.ceil(epochs / self.epoch)

    def validation(self, steps: int, timed: Throughput | None) -> dict[str, Any]:
        """Return how often and how much a run of so many steps validates."""
        tokens, cost = self.epoch * len(self.data.train.ids), None
        if timed is not None:
            cost = timed.evaluation / self.whole / (timed.step / tokens)
        return validation_settings(steps, tokens, self.whole, self.request.settings, cost)

    def estimate(self, plan: Plan, throughput: Throughput | None) -> Estimate:
        """Return what a run by that plan takes."""
        seconds = None if throughput is None else throughput.seconds(plan.train, self.whole)
        device = describe_device(plan.train, self.group)
        return Estimate(device, self.bytes_needed(plan.model), seconds)

    def budget(self, plan: Plan, timed: Throughput | None) -> TimeBudget | None:
        """Return the time budget of a run by that plan, if it has one."""
        if timed is None:
            return None
        reserved = timed.after_last_step(plan.train, self.whole)
        return TimeBudget(self.started + self.request.budget, self.max_steps(plan.model), reserved)


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
