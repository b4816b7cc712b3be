"""Start a run: from scratch, from another model's weights, or from a saved state."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.data.split import TextSplit
from charrnn.errors import CharRNNError, ModelFileError, UsageError
from charrnn.model.network import build
from charrnn.model.shapes import weight_shapes
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.machine import is_out_of_memory
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder, SavedState
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict
from charrnn.training.changes import check_same_run, is_extended, merged
from charrnn.training.extension import Point, extend
from charrnn.training.plan import Plan
from charrnn.training.planning import PlannedRun
from charrnn.training.progress import Progress
from charrnn.training.run import Run
from charrnn.training.schedule import Stage
from charrnn.training.trainer import Trainer

Weights = dict[str, npt.NDArray[np.float32]]

# What Python and torch raise for values of the wrong type and arrays of the wrong shape.
INVALID_STATE_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def begin(
    folder: RunFolder,
    requested: dict[str, Any],
    planned: PlannedRun,
    data: EncodedSplit,
    weights: Weights | None = None,
    group: ProcessGroup = ALONE,
) -> Run:
    """Start a new run in an empty folder, and save its state before the first step.

    All processes call this at once; the main process writes.

    Raises:
        UsageError: The folder holds a model, but no training state to continue from.
    """
    group.all_or_none(lambda: _check_empty(folder) if group.is_main else None)
    trainer = _new_trainer(planned.plan, data, group)
    if weights:  # those of a source may be new where those of the decoder are not, or the reverse
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        trainer.model.load_state_dict(trainer.model.state_dict() | tensors)
    run = Run(folder, requested, planned.plan, trainer, planned.budget)
    run.save()
    return run


def _new_trainer(plan: Plan, data: EncodedSplit, group: ProcessGroup) -> Trainer:
    train = plan.train
    model = build(plan.model, train.seed).to(choose_device(train.device))
    return Trainer(model, data, train, plan.precision, group)


def _check_empty(folder: RunFolder) -> None:
    if folder.model.exists():
        raise UsageError(
            f"{folder.path} holds a model but no training state to continue from.",
            "Choose another folder with `out`, or add `fresh` to move it aside and start again.",
        )


def resume(
    folder: RunFolder,
    requested: dict[str, Any],
    data: EncodedSplit,
    saved: SavedState,
    group: ProcessGroup = ALONE,
    started: float | None = None,
) -> Run:
    """Continue a run from its saved state; all processes call this at once.

    Args:
        folder: The run's folder.
        requested: The options; see `charrnn.training.changes` for those that may have changed.
        data: The text.
        saved: The state.
        group: The processes that train together.
        started: `time.monotonic()` when the command started, from which a time budget counts; None
            is now.

    Raises:
        UsageError: The options differ from those that the run was started with.
        TextError: The text differs.
        ModelFileError: The state contradicts itself, although its checksum is right.
    """
    with _inconsistency_errors(folder):
        facts = saved.facts
        check_same_run(folder.path, requested, data, facts)
        plan = saved_plan(facts, saved.arrays, data.tokenizer)
        progress, now = (
            Progress.from_dict(facts["trainer"]["progress"]),
            merged(facts["request"], requested),
        )
        seconds = group.on_main(lambda: _rewind_log(folder, progress))
        extension = None
        if is_extended(facts["request"], requested):
            stage = Stage.restored(facts["trainer"], plan.train)
            began = time.monotonic() if started is None else started
            point = Point(plan, progress, stage, seconds)
            extension = extend(point, now, data, started=began, group=group)
            plan = extension.plan
        plan = plan.with_reporting(now)
        run = Run(folder, now, plan, _new_trainer(plan, data, group))
        run.seconds = seconds
        run.trainer.restore(saved.arrays, facts["trainer"])
        run.saved = replace(run.trainer.progress)
        if extension is not None:
            run.extend(extension.stage, extension.budget, extension.note)
    return run


def forget_lost_model(run: Run) -> str:
    """Return what is wrong with the file of the best model so far; empty if nothing is.

    If it is lost, the model of the next evaluation counts as the best and replaces it. All
    processes call this at once.
    """
    progress = run.trainer.progress
    if not progress.best_step:
        return ""
    problem = run.group.on_main(lambda: _problem_with(run.folder))
    if not problem:
        return ""
    if run.trainer.finished:
        return f"{problem} Its weights cannot be made again without training again: `fresh`."
    progress.best_nats, progress.best_step = math.inf, 0
    return f"{problem} The best model of the steps to come will replace it."


def _problem_with(folder: RunFolder) -> str:
    try:
        load_model(folder.model)
    except CharRNNError as error:
        return error.message
    return ""


def _rewind_log(folder: RunFolder, progress: Progress) -> float:
    """Cut the logs back to the saved state, and return the seconds that the run has taken.

    Those are in its record, or in the log if the record is missing or older.
    """
    folder.metrics.cut(progress.step, progress.evaluated_step)
    folder.samples.cut(progress.step)
    return max(folder.metrics.seconds(), folder.record.seconds_at(progress.step))


def saved_tokenizer(
    folder: RunFolder, requested: dict[str, Any], text: TextSplit, saved: SavedState
) -> Tokenizer:
    """Return a saved run's tokenizer, after checking that the run can be continued.

    The check comes before anything is learned or encoded. The errors are those of `resume`.
    """
    with _inconsistency_errors(folder):
        check_same_run(folder.path, requested, text, saved.facts)
        return tokenizer_from_dict(saved.facts["tokenizer"])


def is_untouched(
    folder: RunFolder, requested: dict[str, Any], text: TextSplit, saved: SavedState
) -> bool:
    """Return whether a saved run has not trained a step, and another one is wanted now."""
    with _inconsistency_errors(folder):
        facts = saved.facts
        same = facts["request"] == requested and facts["text"]["sha256"] == text.sha256
        return not same and Progress.from_dict(facts["trainer"]["progress"]).step == 0


@contextmanager
def _inconsistency_errors(folder: RunFolder) -> Iterator[None]:
    """Turn errors about a state that contradicts itself into `ModelFileError`."""
    try:
        yield
    except INVALID_STATE_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise ModelFileError(
            f"The training state in {folder.path} contradicts itself, though its checksum is "
            "right: charrnn did not write it.",
            "Restore it from a copy, or start again with `fresh`, which moves it aside.",
        ) from error


def saved_plan(facts: dict[str, Any], arrays: Arrays, tokenizer: Tokenizer) -> Plan:
    """Return a saved run's plan.

    Raises:
        ValueError: It does not fit the weights or the tokenizer; also other errors of
            `INVALID_STATE_ERRORS`.
    """
    model, train = ModelConfig.from_dict(facts["model"]), TrainConfig.from_dict(facts["train"])
    shapes = {f"model.{name}": shape for name, shape in weight_shapes(model).items()}
    found = {name: one.shape for name, one in arrays.items() if name.startswith("model.")}
    if tokenizer.size != model.vocab_size or shapes != found:  # before anything is allocated
        raise ValueError("configuration, vocabulary and weights differ")
    precision, epochs = facts["precision"], facts["epochs"]
    if precision not in ("fp32", "bf16", "fp16") or not math.isfinite(epochs):
        raise ValueError("precision or length")
    return Plan(model=model, train=train, precision=precision, epochs=epochs)


def extended_weights(start: SavedModel, vocab_size: int) -> Weights:
    """Return a model's weights for a vocabulary with new symbols added at its end.

    A new symbol's rows are the mean of the old ones, which has the right scale. The start symbol,
    whose row is the last one of the embedding, stays last.
    """
    weights, rows = dict(start.weights), start.config.vocab_size
    for name in ("embedding.weight", "head_weight", "head_bias"):
        if name in weights and vocab_size > rows:
            old = weights[name]
            mean = old[:rows].mean(axis=0, keepdims=True)
            new = np.repeat(mean, vocab_size - rows, axis=0)
            weights[name] = np.concatenate([old[:rows], new, old[rows:]])
    return weights
