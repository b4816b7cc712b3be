"""From a request to a plan: choose the settings that were not given, measuring speed if needed."""

from dataclasses import dataclass, replace

from charrnn.config.model import ModelConfig
from charrnn.config.presets import MEMBERS, MEMBERS_PAY
from charrnn.config.source import SourceConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.runtime.device import prepare_cpu
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.tokenizers import Tokenizer
from charrnn.training.memory import check_memory, memory_bytes, teacher_bytes
from charrnn.training.plan import Estimate, Plan, record_length, text_length
from charrnn.training.planner import Planner
from charrnn.training.request import TrainRequest
from charrnn.training.settings import choose_settings
from charrnn.training.time_budget import TimeBudget

FORWARD_SHARE = 1 / 3  # of a step's time


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
    record = record_length(data.train)
    model, config = choose_settings(request, data.tokenizer, length, base, source, record)
    prepare_cpu(config.threads, group.local_size)
    planner = Planner(request, data, config, started, group, is_new=base is None)
    precision = planner.precision(model)
    if request.is_timed and base is None:
        planner = planner.with_fitting_batches(model, precision.name)
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
