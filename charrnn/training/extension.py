"""Train a run longer than was planned, from its state: the learning rate rises and falls again."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn.config.presets import find_preset
from charrnn.data.encoding import EncodedSplit
from charrnn.errors import UsageError, counted
from charrnn.runtime.distributed import ProcessGroup
from charrnn.training.changes import LENGTHS
from charrnn.training.plan import Plan, text_length
from charrnn.training.progress import Progress
from charrnn.training.schedule import Stage, learning_rate
from charrnn.training.throughput import EVALUATIONS, FEWEST_EVALUATIONS, measure_throughput
from charrnn.training.time_budget import SECONDS_TO_SAVE, UNLIMITED, TimeBudget


@dataclass(frozen=True)
class Point:
    """How far a run has come when it is extended.

    Attributes:
        plan: Its plan so far.
        progress: Its progress.
        stage: The stage of its learning rate.
        seconds: The time it has taken.
    """

    plan: Plan
    progress: Progress
    stage: Stage
    seconds: float


@dataclass(frozen=True)
class Extension:
    """A plan with another number of steps, and what goes with it.

    Attributes:
        plan: The plan of the whole run.
        stage: The new stage of the learning rate.
        budget: The time budget, if the request is for a time.
        note: What happens, for the user.
    """

    plan: Plan
    stage: Stage
    budget: TimeBudget | None
    note: str


def extend(
    point: Point,
    request: Mapping[str, Any],
    data: EncodedSplit,
    *,
    started: float,
    group: ProcessGroup,
) -> Extension:
    """Return the plan of a run that is trained to another length than it was planned for.

    A length is that of the whole run, with what it has trained already. All processes call this at
    once, before a state is restored, because measuring the speed draws random numbers.

    Args:
        point: How far it has come.
        request: The options of the whole run from now on; see `charrnn.training.changes.merged`.
        data: The text.
        started: `time.monotonic()` when the command started, from which a time budget counts.
        group: The processes that train together.

    Raises:
        UsageError: The run is already that long, or has a curriculum, which depends on its length.
    """
    if point.plan.train.seq_len_start is not None:
        raise UsageError(
            "A run with `seq_len_start` cannot be extended, because its sequence lengths depend on "
            "the number of steps.",
            "Start a new run from its model with `init_from`.",
        )
    name = next((name for name in LENGTHS if name in request), "steps")
    steps, budget = point.plan.train.steps, None
    if name in ("seconds", "preset"):
        steps, budget = _timed_steps(point, request, data, started, group)
    elif name == "epochs":
        steps = math.ceil(request["epochs"] * steps / point.plan.epochs)
    elif "steps" in request:
        steps = request["steps"]
    done = point.progress.step
    if steps < done or (steps == done and "patience" not in request):
        raise _already(counted(done, "step"), name, request[name])
    plan = point.plan.with_steps(steps, text_length(data.train), request)
    every = request.get("eval_every", _eval_every(point.plan.train.eval_every, steps - done))
    patience = request.get("patience", plan.train.patience)
    plan = replace(plan, train=replace(plan.train, eval_every=every, patience=patience))
    same = steps == point.plan.train.steps and "lr" not in request  # only patience has changed
    stage = point.stage if same else _stage(point, request.get("lr"))
    return Extension(plan, stage, budget, _describe(point, plan, stage))


def _timed_steps(
    point: Point,
    request: Mapping[str, Any],
    data: EncodedSplit,
    started: float,
    group: ProcessGroup,
) -> tuple[int, TimeBudget]:
    """Return the steps that fit into what is left of a time, and the budget."""
    seconds = request.get("seconds") or find_preset(request["preset"]).seconds
    name = "seconds" if "seconds" in request else "preset"
    left = seconds - point.seconds
    if left <= 1:
        raise _already(f"{point.seconds:.0f} seconds", name, request[name])
    plan = point.plan
    throughput = measure_throughput(plan.model, plan.train, plan.precision, data, group)
    reserved = throughput.after_last_step(plan.train, len(data.valid.ids))
    (elapsed,) = group.max(time.monotonic() - started)
    more = throughput.steps_within(left - elapsed - SECONDS_TO_SAVE, UNLIMITED)
    return point.progress.step + more, TimeBudget(started + left, UNLIMITED, reserved)


def _already(what: str, name: str, value: Any) -> UsageError:
    given = value if isinstance(value, str) else f"{value:g}"
    return UsageError(
        f"This run has already taken {what}: `{name}` {given} would not train it further.",
        f"`{name}` is the length of the whole run: give more to go on, or `fresh` to start again.",
    )


def _eval_every(before: int, more: int) -> int:
    """Return the steps between evaluations: as before, unless they are then too many or too few."""
    return min(
        max(before, math.ceil(more / EVALUATIONS)), math.ceil(more / FEWEST_EVALUATIONS) or 1
    )


def _stage(point: Point, lr: float | None) -> Stage:
    """Return the stage of the learning rate that begins now, with a given peak or the run's.

    A lower peak than the run's did worse: of 400 steps on 300,000 characters of tiny Shakespeare,
    extended to 600, validation was 1.432 nats with the same peak, 1.442 with half of it and 1.455
    with a quarter; 600 steps at once came to 1.419.
    """
    done, config = point.progress.step, point.plan.train
    before = learning_rate(done - 1, config, point.stage) if done else 0.0
    return Stage(done, before, lr or config.lr)


def _describe(point: Point, plan: Plan, stage: Stage) -> str:
    done, before, now = point.progress.step, point.plan.train.steps, plan.train.steps
    if stage is point.stage:
        return f"Going on from step {done:,} of {now:,}."
    length = counted(now, "step") + (f" instead of {before:,}" if now != before else "")
    end = stage.peak * plan.train.lr_floor
    return (
        f"Extending the run to {length}, from step {done:,}: the learning rate goes from "
        f"{stage.start:.2g} to {stage.peak:.2g}, and then falls to {end:.2g} again. "
        "(`lr` sets its peak.)"
    )
