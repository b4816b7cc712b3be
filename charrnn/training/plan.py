"""From what a person asked for to the complete settings of a run, measuring the machine where time is the budget."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from charrnn.config.presets import (
    cell_settings,
    find_preset,
    most_epochs,
    shape_settings,
    suitable_dropout,
)
from charrnn.config.schema import ModelConfig, TrainConfig, check_settings, flag
from charrnn.data.batching import curriculum, make_batcher
from charrnn.data.text import Encoded
from charrnn.errors import MachineError, UsageError
from charrnn.evaluation.scoring import LOGITS, most_tokens
from charrnn.model.shapes import NUM_GATES, parameter_count
from charrnn.runtime.device import (
    choose_device,
    choose_precision,
    free_memory,
    idle_cores,
    use_processor,
)
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.tokenizers import Tokenizer
from charrnn.training.throughput import (
    EVALUATIONS,
    SECONDS_TO_LEAVE,
    Speed,
    measure_speed,
    steps_within,
)

MODEL_FIELDS = frozenset(spec.name for spec in fields(ModelConfig)) - {"vocab_size"}
TRAIN_FIELDS = frozenset(spec.name for spec in fields(TrainConfig))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for.

    A run is only continued by a request that is equal to the one that began it.

    Attributes:
        settings: Fields of `ModelConfig` and `TrainConfig` that were given.
        preset: A name in `PRESETS`; None is the standard one.
        epochs: Length of the training in passes over the text.
        seconds: Length of the whole command in seconds, turned into steps by measuring the
            machine's speed.
        init_from: SHA-256 of the model to start from.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    epochs: float | None = None
    seconds: float | None = None
    init_from: str | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` if the length is given twice or makes no sense."""
        lengths = {
            "--steps": self.settings.get("steps"),
            "--epochs": self.epochs,
            "--time": self.seconds,
        }
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} say twice how long to train.", "Give one of them."
            )
        for name, value in (("--epochs", self.epochs), ("--time", self.seconds)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be greater than 0, not {value:g}.")
        if self.preset is not None:
            find_preset(self.preset)

    def to_dict(self) -> dict[str, Any]:
        """Return what was given, as JSON values."""
        values = {
            name: value
            for name, value in vars(self).items()
            if name != "settings" and value is not None
        }
        return values | dict(self.settings)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The complete settings of a run.

    Attributes:
        model: The shape of the network.
        train: How it is trained.
        device: Where it computes on this machine, for a person.
        precision: What `train.precision` comes to on this machine.
        epochs: Passes over the training text.
        memory_bytes: Estimated memory of weights, optimizer, training and scoring; 0 if the run is
            under way.
        deadline: `time.monotonic()` at which the command should end, if time is its budget; a run
            that is continued has none.
        ending: Seconds before the deadline in which no step is to be taken: to evaluate once more,
            save and leave.
        most_steps: Steps that are never exceeded to fill the time.
        total_seconds: Estimated time of the training, evaluations included; None if nothing was
            measured.
    """

    model: ModelConfig
    train: TrainConfig
    device: str
    precision: str
    epochs: float
    memory_bytes: int = 0
    deadline: float | None = None
    ending: float = SECONDS_TO_LEAVE
    most_steps: int = 0
    total_seconds: float | None = None


def memory_bytes(model: ModelConfig, batches: Iterable[tuple[int, int]], scored: int = 0) -> int:
    """Estimate the memory of weights, gradients and optimizer, and of a step or the scoring, in bytes.

    Args:
        model: The shape of the network.
        batches: Rows and steps of each kind of batch that there is.
        scored: Tokens that are scored at once.
    """
    outputs = model.vocab_size // (3 if model.adaptive else 1)  # most targets need no tail
    span, weights = model.attention, 4 * 4 * parameter_count(model)
    per_step = model.num_layers * model.hidden_size * (2 * NUM_GATES[model.cell] + 6) + 3 * outputs
    if span:  # values, queries and answers of each step
        per_step += 8 * model.hidden_size
    memory = (
        4 * span * model.hidden_size
    )  # what is remembered before and after, and their gradients

    def row(steps: int) -> int:
        mask = min(span + max(span, 64), span + steps) if span else 0  # of each step's window
        return steps * (per_step + mask) + memory

    # scoring computes every symbol's probability, and holds so many copies of them
    scoring = (5 if model.adaptive else 3) * min(scored * model.vocab_size, LOGITS)
    return weights + 4 * max(scoring, *(rows * row(steps) for rows, steps in batches))


def check_memory(needed: int, train: TrainConfig) -> None:
    """Raise `MachineError` if the device has not so many bytes free, before anything is allocated."""
    free = free_memory(choose_device(train.device))
    if free is not None and needed > free:
        length = f"--seq-len {train.seq_len}" if train.bptt != "full" else "--bptt full"
        raise MachineError(
            f"Training with {length} and --batch-size {train.batch_size} needs about {needed / 1e9:,.1f} GB of memory; "
            f"{free / 1e9:,.1f} GB are free.",
            "Give a smaller --seq-len, --batch-size or --hidden-size.",
        )


def check_request(
    request: Request, tokenizer: Tokenizer, length: int, base: ModelConfig | None = None
) -> None:
    """Raise what `make_plan` would raise about settings that do not go together, before a long text is encoded.

    So is a model refused that has no room even without its activations, which depend on the text.

    Args:
        request: What was asked for.
        tokenizer: Of the training text.
        length: Characters of the training text.
        base: The model to start from.
    """
    model, settings = _shapes(request, tokenizer, length, base)
    config = TrainConfig(**settings)
    check_memory(memory_bytes(model, [(config.batch_size, 1)]), config)  # this much at least


def make_plan(
    request: Request,
    tokenizer: Tokenizer,
    train: Encoded,
    valid: Encoded,
    *,
    started: float,
    base: ModelConfig | None = None,
    measure: bool = False,
    ranks: Ranks = ALONE,
) -> Plan:
    """Settle everything that the request leaves open.

    Args:
        request: What was asked for.
        tokenizer: Of the training text.
        train: The training text.
        valid: The validation text.
        started: `time.monotonic()` when the command began: a budget of time covers all of it.
        base: The model to start from, whose shape then holds.
        measure: Measure the speed even if no setting depends on it, for an estimate of the time.
        ranks: Those that will train together, who all ask for the plan at once and all get the
            same.

    Raises:
        UsageError: A setting is unknown or out of range.
        TextError: The training text has fewer than two symbols.
        MachineError: The device is not there, or has too little memory.
    """
    length = length_of(train)
    model, settings = _shapes(request, tokenizer, length, base)
    config = TrainConfig(**settings)
    precision = choose_precision(config.precision, choose_device(config.device))
    use_processor(config.threads, ranks.local_size)
    share, whole = mean_length(config), replace(config, seq_len_start=None)
    batcher = make_batcher(train.ids, whole, model.vocab_size, train.starts)
    epoch = share / batcher.steps_per_epoch()  # passes over the text in a step
    parts = ranks.size * config.accumulate
    shapes = {(-(-rows // parts), steps) for rows, steps in batcher.shapes()}
    needed = memory_bytes(model, shapes, most_tokens(valid))
    ranks.together(lambda: check_memory(needed * ranks.local_size, config))
    timed = request.epochs is None and "steps" not in request.settings
    speed = None
    if timed or measure:
        measured = partial(measure_speed, model, whole, precision, tokenizer, train, valid, ranks)
        speed, threads = best_speed(measured, config, ranks)
        speed, config = replace(speed, step=speed.step * share), replace(config, threads=threads)
    evaluations, deadline, most = EVALUATIONS, None, 0
    if timed and speed is not None:
        (elapsed,) = ranks.most(time.monotonic() - started)
        budget = request.seconds or find_preset(request.preset or "standard").seconds
        deadline = started + budget
        # a preset ends where more passes over the text gain nothing; a given time is used to its
        # end
        most = (
            math.ceil(most_epochs(length, model.cell) / epoch)
            if request.seconds is None
            else 1 << 40
        )
        steps, evaluations = steps_within(budget - elapsed, speed, most)
    else:
        steps = config.steps if request.epochs is None else math.ceil(request.epochs / epoch)
    config = replace(
        config, steps=steps, eval_every=settings.get("eval_every", math.ceil(steps / evaluations))
    )
    return Plan(
        model=replace(model, dropout=dropout_of(steps * epoch, model, length, request.settings)),
        train=config,
        device=describe_device(config, ranks),
        precision=precision,
        epochs=steps * epoch,
        memory_bytes=needed,
        deadline=deadline,
        ending=SECONDS_TO_LEAVE + (speed.evaluation if speed else 0),
        most_steps=most,
        total_seconds=speed.of(steps, config.eval_every) if speed else None,
    )


def best_speed(
    measured: Callable[[], Speed], config: TrainConfig, ranks: Ranks
) -> tuple[Speed, int | None]:
    """Return the speed of training, and the number of threads to train with.

    None is as many as torch likes.

    Threads wait for each other at every step, so that one whose core another program uses holds up
    all: on a machine that was busy lately, as many as its idle cores are tried too, and are taken
    if that is clearly faster.
    """
    speed, every, few = measured(), use_processor(None), idle_cores()
    if (
        config.threads is not None
        or ranks.size > 1
        or choose_device(config.device).type != "cpu"
        or few >= every
    ):
        return speed, config.threads
    use_processor(few)
    other = measured()
    if other.step < CLEARLY_FASTER * speed.step:
        return other, few
    use_processor(every)
    return speed, None


CLEARLY_FASTER = 0.8  # of the time of a step


def length_of(train: Encoded) -> int:
    """Return a text's length as presets think of it.

    In characters, or in bytes where these are symbols.
    """
    return max(train.characters, len(train.ids))


def dropout_of(epochs: float, model: ModelConfig, length: int, chosen: Mapping[str, Any]) -> float:
    """Return the dropout that was chosen, or else suits the cell and a number of passes over a text."""
    suitable = {"dropout": suitable_dropout(epochs, parameter_count(model), length)}
    return float((suitable | cell_settings(model.cell) | dict(chosen))["dropout"])


def with_steps(plan: Plan, steps: int, length: int, chosen: Mapping[str, Any]) -> Plan:
    """Return the plan for another number of steps, with the dropout that suits so many passes if none was chosen."""
    epochs = plan.epochs * steps / plan.train.steps
    model = replace(plan.model, dropout=dropout_of(epochs, plan.model, length, chosen))
    return replace(plan, model=model, train=replace(plan.train, steps=steps), epochs=epochs)


def mean_length(config: TrainConfig) -> float:
    """Return the mean sequence length of a run's steps as a share of `seq_len`.

    1 without a curriculum.
    """
    lengths = curriculum(config)
    return (1 + sum(lengths) / len(lengths) / config.seq_len) / 2 if lengths else 1.0


def steps_in_time(plan: Plan, step: int, now: float, pace: float) -> int:
    """Return the steps that a run under way should have, so that it ends in time.

    Args:
        plan: What it was begun with. It stays as it is if time is not its budget, if there is
            nearly nothing to gain, and towards the end, for the learning rate is to come down to
            its floor in peace.
        step: Steps taken.
        now: `time.monotonic()`.
        pace: Steps in a second, of late.
    """
    planned = plan.train.steps
    if (
        plan.deadline is None
        or step > ADJUSTED_UNTIL * planned
        or plan.train.seq_len_start is not None
    ):
        return planned
    left = (plan.deadline - plan.ending - now) * pace
    steps = min(plan.most_steps, step + max(1, int(left)))
    return steps if abs(steps - planned) > ADJUSTED_FROM * planned else planned


ADJUSTED_FROM = 0.02  # share of the steps that is worth a change
ADJUSTED_UNTIL = 0.8  # share of the run after which its end stays where it is


def _shapes(
    request: Request, tokenizer: Tokenizer, length: int, base: ModelConfig | None
) -> tuple[ModelConfig, dict[str, Any]]:
    """Return the model's configuration and the training settings as far as they do not depend on the speed."""
    check_settings(request.settings)
    chosen = shape_settings(find_preset(request.preset or "standard"), length)
    chosen |= cell_settings(request.settings.get("cell", ModelConfig().cell)) | dict(
        request.settings
    )
    shape = {name: value for name, value in chosen.items() if name in MODEL_FIELDS}
    if base is not None:
        kept = base.to_dict() | {"vocab_size": tokenizer.size}
        changed = [
            name
            for name, value in request.settings.items()
            if name in MODEL_FIELDS and kept[name] != value
        ]
        fixed = [name for name in changed if name != "dropout"]
        if fixed:
            name = fixed[0]
            raise UsageError(
                f"{flag(name)} cannot differ from the --init-from model's, which is {kept[name]}."
            )
        shape = kept | {name: request.settings[name] for name in changed}
    elif "adaptive" not in shape:
        # the clusters are by frequency: so the smaller id has to be of the more frequent symbol,
        # which chars' are not
        large = tokenizer.unknown is None and tokenizer.size >= ADAPTIVE_FROM
        shape["adaptive"] = large and not shape.get("tied", False)
    model = ModelConfig(**shape | {"vocab_size": tokenizer.size})
    settings = {name: value for name, value in chosen.items() if name in TRAIN_FIELDS}
    return model, settings | {"tokenizer": tokenizer.kind}  # which --init-from brings along


ADAPTIVE_FROM = 2000  # symbols from which a plain output layer takes half of a step's time and more


def describe_device(config: TrainConfig, ranks: Ranks = ALONE) -> str:
    """Set the threads, and name the device that a configuration comes to on this machine."""
    threads, device = use_processor(config.threads, ranks.local_size), choose_device(config.device)
    name = (
        f"cpu with {threads} thread{'s' if threads > 1 else ''}"
        if device.type == "cpu"
        else device.type
    )
    return name if ranks.size == 1 else f"{ranks.size} ranks, each on {name}"
