"""From a request to a plan: choose the settings that were not given, measuring speed if needed."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from charrnn.config.model import ModelConfig
from charrnn.config.presets import (
    cell_settings,
    find_preset,
    max_epochs,
    shape_settings,
)
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.windows import curriculum
from charrnn.data.encoding import Encoded, EncodedSplit
from charrnn.errors import UsageError
from charrnn.evaluation.scoring import max_tokens
from charrnn.runtime.device import choose_device, choose_precision, prepare_cpu
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.tokenizers import Tokenizer
from charrnn.training.memory import check_memory, memory_bytes
from charrnn.training.plan import Estimate, Plan, dropout_for, text_length
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import EVALUATIONS, Throughput, measure_throughput
from charrnn.training.time_budget import UNLIMITED, TimeBudget, choose_threads

MODEL_FIELDS = frozenset(spec.name for spec in fields(ModelConfig)) - {"vocab_size"}
TRAIN_FIELDS = frozenset(spec.name for spec in fields(TrainConfig))
MIN_ADAPTIVE = 2000  # symbols from which a plain softmax takes at least half of a step's time


@dataclass(frozen=True)
class PlannedRun:
    """A plan, an estimate of what it takes, and the time budget if the run has one."""

    plan: Plan
    estimate: Estimate
    budget: TimeBudget | None = None


def check_request(
    request: TrainRequest, tokenizer: Tokenizer, length: int, base: ModelConfig | None = None
) -> None:
    """Raise the errors of `make_plan` that do not depend on the encoded text.

    Those are contradictory settings, and a model that is too large for the memory even without its
    activations.

    Args:
        request: What was requested.
        tokenizer: The tokenizer of the training text.
        length: Characters of the training text.
        base: The model to start from.
    """
    model, config = choose_settings(request, tokenizer, length, base)
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
    model, config = choose_settings(request, data.tokenizer, text_length(data.train), base)
    precision = choose_precision(config.precision, choose_device(config.device))
    prepare_cpu(config.threads, group.local_size)
    epoch, needed = _workload(model, config, data, group)
    group.all_or_none(lambda: check_memory(needed * group.local_size, config))
    throughput, budget = None, None
    if request.is_timed or estimate:
        throughput, config = _measure(model, config, precision, data, group)
    if request.is_timed and throughput is not None:
        (elapsed,) = group.max(time.monotonic() - started)
        max_steps = _max_steps(request, data.train, model, epoch)
        seconds = request.seconds or find_preset(request.preset).seconds
        budget = TimeBudget(started + seconds, max_steps, throughput.evaluation)
        steps, evaluations = budget.first_steps(throughput, started + elapsed)
    else:
        steps = config.steps if request.epochs is None else math.ceil(request.epochs / epoch)
        evaluations = EVALUATIONS
    eval_every = request.settings.get("eval_every", math.ceil(steps / evaluations))
    config = replace(config, steps=steps, eval_every=eval_every)
    dropout = dropout_for(steps * epoch, model, text_length(data.train), request.settings)
    model = replace(model, dropout=dropout)
    plan = Plan(model=model, train=config, precision=precision, epochs=steps * epoch)
    training_seconds = throughput.seconds(steps, eval_every) if throughput else None
    return PlannedRun(
        plan, Estimate(describe_device(config, group), needed, training_seconds), budget
    )


def _measure(
    model: ModelConfig,
    config: TrainConfig,
    precision: str,
    data: EncodedSplit,
    group: ProcessGroup,
) -> tuple[Throughput, TrainConfig]:
    """Return a configuration's throughput, and the configuration with the fastest threads."""
    full_length = replace(config, seq_len_start=None)
    measure = partial(measure_throughput, model, full_length, precision, data, group)
    throughput, threads = choose_threads(measure, config, group)
    return throughput.scaled(mean_length(config)), replace(config, threads=threads)


def _workload(
    model: ModelConfig, config: TrainConfig, data: EncodedSplit, group: ProcessGroup
) -> tuple[float, int]:
    """Return the fraction of an epoch that a step is, and the bytes of memory a process needs."""
    full_length = replace(config, seq_len_start=None)
    batcher = make_batcher(data.train.ids, full_length, model.vocab_size, data.train.starts)
    parts = group.size * config.accumulate
    shapes = {(-(-rows // parts), steps) for rows, steps in batcher.shapes()}
    needed = memory_bytes(model, shapes, max_tokens(data.valid))
    return mean_length(config) / batcher.steps_per_epoch(), needed


def _max_steps(request: TrainRequest, train: Encoded, model: ModelConfig, epoch: float) -> int:
    """Return the most steps that a time budget may use.

    A preset stops where more epochs do not help; an explicit time is used in full.
    """
    if request.seconds is not None:
        return UNLIMITED
    return math.ceil(max_epochs(text_length(train), model.cell) / epoch)


def choose_settings(
    request: TrainRequest, tokenizer: Tokenizer, length: int, base: ModelConfig | None
) -> tuple[ModelConfig, TrainConfig]:
    """Return all settings that do not depend on the speed of the machine.

    Args:
        request: What was requested.
        tokenizer: The tokenizer of the training text.
        length: Length of the training text; see `text_length`.
        base: The model to start from.
    """
    chosen = shape_settings(find_preset(request.preset), length)
    chosen |= cell_settings(request.settings.get("cell", ModelConfig().cell))
    chosen |= request.settings
    settings = {name: value for name, value in chosen.items() if name in TRAIN_FIELDS}
    # With `init_from`, the tokenizer is that model's.
    config = TrainConfig(**settings | {"tokenizer": tokenizer.kind})
    if base is not None:
        return _shape_of_base(base, request.settings, tokenizer), config
    shape = {name: value for name, value in chosen.items() if name in MODEL_FIELDS}
    if "adaptive" not in shape:
        # Adaptive softmax needs ids in order of decreasing frequency, which a vocabulary of
        # characters (the one with an unknown symbol) does not have.
        large = tokenizer.unknown is None and tokenizer.size >= MIN_ADAPTIVE
        shape["adaptive"] = large and not shape.get("tied", False)
    return ModelConfig(**shape | {"vocab_size": tokenizer.size}), config


def _shape_of_base(
    base: ModelConfig, given: Mapping[str, Any], tokenizer: Tokenizer
) -> ModelConfig:
    """Return the shape of a model that starts from `base`, from which only dropout may differ."""
    kept = base.to_dict() | {"vocab_size": tokenizer.size}
    for name in given:
        if name in MODEL_FIELDS - {"dropout"} and kept[name] != given[name]:
            raise UsageError(
                f"`{name}` cannot differ from the `init_from` model's, which is {kept[name]}."
            )
    return ModelConfig(**kept | {"dropout": given.get("dropout", base.dropout)})


def mean_length(config: TrainConfig) -> float:
    """Return the mean sequence length of a run's steps as a fraction of `seq_len`."""
    lengths = curriculum(config)
    return (1 + sum(lengths) / len(lengths) / config.seq_len) / 2 if lengths else 1.0


def describe_device(config: TrainConfig, group: ProcessGroup = ALONE) -> str:
    """Set the number of threads, and return a description of the device, for display."""
    threads = prepare_cpu(config.threads, group.local_size)
    kind = choose_device(config.device).type
    name = f"cpu with {threads} thread{'s' if threads > 1 else ''}" if kind == "cpu" else kind
    return name if group.size == 1 else f"{group.size} ranks, each on {name}"
