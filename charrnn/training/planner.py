"""What a plan is made of: speeds, steps and settings that suit a text and a machine."""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.config.presets import max_epochs
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.windows import curriculum
from charrnn.data.encoding import EncodedSplit
from charrnn.errors import MachineError, counted
from charrnn.runtime.device import choose_device, prepare_cpu, processes_per_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.precision import Precision
from charrnn.training.batch_size import choose_batch_size, may_choose_batch_size
from charrnn.training.memory import check_memory, max_tokens, memory_bytes
from charrnn.training.plan import Estimate, Plan, text_length, with_settings_for_length
from charrnn.training.precision import choose_precision
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import (
    MEASURED_SECONDS,
    SHORT_SECONDS,
    Throughput,
    measure_throughput,
    validation_settings,
)
from charrnn.training.time_budget import SECONDS_TO_SAVE, UNLIMITED, TimeBudget, choose_threads
from charrnn.training.width import WIDTHS, with_fitting_width

MEASURED_SHARE = 0.05  # of a time budget, for measuring the speed, at most
GLANCE_SHARE = 0.005  # for each of the batches and widths that are compared


class Planner:
    """The steps of making a plan, and what they depend on: request, text, settings and machine.

    `timed` is the throughput of a run with a time budget, and None for a run without one.

    Attributes:
        train: The settings of the run that do not depend on the speed.
        config: The same with the longest sequences of a curriculum, to measure with.
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
        self.is_new, self.train = is_new, config
        self.glances: dict[tuple[ModelConfig, str], Throughput] = {}
        self.config = replace(config, seq_len_start=None)
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

    def with_fitting_batches(self, model: ModelConfig, precision: str) -> "Planner":
        """Return the planner of a run whose batches suit the text and the speed of the machine."""
        left = self.seconds_left()
        if not may_choose_batch_size(self.request, self.train, self.data.train, left):
            return self
        planners, widest = {self.train.batch_size: self}, model
        if "hidden_size" not in self.request.settings:
            widest = replace(model, hidden_size=WIDTHS[-1])

        def length_of_run(size: int) -> tuple[int, float]:
            planner = planners[size] = planners.get(size) or self.with_batch_size(size)
            try:
                planner.check_memory(widest)
            except MachineError:
                return 0, 0.0
            steps = planner.glance(model, precision).steps_within(left, UNLIMITED)
            return steps, steps * planner.epoch

        return planners[choose_batch_size(self.train.batch_size, length_of_run)]

    def with_batch_size(self, size: int) -> "Planner":
        """Return the planner of the same run with another batch size."""
        config = replace(self.train, batch_size=size)
        rest = self.started, self.group
        return Planner(self.request, self.data, config, *rest, is_new=self.is_new)

    def with_fitting_width(self, model: ModelConfig, precision: str) -> ModelConfig:
        """Return the model's shape with a width that suits the time budget."""
        glance, left = partial(self.glance, precision=precision), self.seconds_left()
        return with_fitting_width(self.request, model, self.length, self.epoch, left, glance)

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
        """Return roughly a configuration's throughput, measured in a moment, and once."""
        if (model, precision) not in self.glances:
            seconds = min(SHORT_SECONDS, GLANCE_SHARE * self.request.budget)
            self.glances[model, precision] = self.throughput(model, precision, seconds=seconds)
        return self.glances[model, precision]

    def measure(self, model: ModelConfig, precision: str) -> tuple[Throughput, int | None]:
        """Return a configuration's throughput, and the fastest number of threads."""
        seconds = MEASURED_SECONDS
        if self.request.is_timed:
            seconds = min(seconds, MEASURED_SHARE * self.request.budget)
        measure = partial(self.throughput, model, precision, seconds=seconds)
        return choose_threads(measure, self.config, self.group)

    def throughput(self, model: ModelConfig, precision: str, *, seconds: float) -> Throughput:
        """Return a configuration's throughput, with sequences of their mean length."""
        config, data, group = self.config, self.data, self.group
        found = measure_throughput(model, config, precision, data, group, seconds=seconds)
        return found.scaled(self.mean_length)

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
