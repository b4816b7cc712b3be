"""Start a run: from scratch, from another model's weights, or from a saved state."""

import math
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
from charrnn.errors import CharRNNError, ModelFileError, TextError, UsageError
from charrnn.model.network import build
from charrnn.model.shapes import weight_shapes
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.runtime.machine import is_out_of_memory
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.storage.run_folder import RunFolder, SavedState
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict
from charrnn.training.plan import Plan
from charrnn.training.planning import PlannedRun
from charrnn.training.run import Run
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
    if weights is not None:
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        trainer.model.load_state_dict(tensors)
    run = Run(folder, requested, planned.plan, trainer, planned.budget)
    run.save()
    return run


def _new_trainer(plan: Plan, data: EncodedSplit, group: ProcessGroup) -> Trainer:
    model = build(plan.model, plan.train.seed).to(choose_device(plan.train.device))
    return Trainer(model, data, plan.train, plan.precision, group)


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
) -> Run:
    """Continue a run from its saved state; all processes call this at once.

    Raises:
        UsageError: The options differ from those that the run was started with.
        TextError: The text differs.
        ModelFileError: The state contradicts itself, although its checksum is right.
    """
    with _inconsistency_errors(folder):
        check_same_run(folder, requested, data, saved.facts)
        plan = saved_plan(saved.facts, saved.arrays, data.tokenizer)
        run = Run(folder, saved.facts["request"], plan, _new_trainer(plan, data, group))
        run.trainer.restore(saved.arrays, saved.facts["trainer"])
        run.saved = replace(run.trainer.progress)
    group.all_or_none(lambda: _rewind_log(run) if group.is_main else None)
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


def _rewind_log(run: Run) -> None:
    """Cut the metrics log back to the saved state, and restore the elapsed time from it."""
    progress, metrics = run.trainer.progress, run.folder.metrics
    metrics.cut(progress.step, progress.evaluated_step)
    run.seconds = metrics.seconds()


def saved_tokenizer(
    folder: RunFolder, requested: dict[str, Any], text: TextSplit, saved: SavedState
) -> Tokenizer:
    """Return a saved run's tokenizer, after checking that the run can be continued.

    The check comes before anything is learned or encoded. The errors are those of `resume`.
    """
    with _inconsistency_errors(folder):
        check_same_run(folder, requested, text, saved.facts)
        return tokenizer_from_dict(saved.facts["tokenizer"])


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


def check_same_run(
    folder: RunFolder,
    requested: dict[str, Any],
    text: TextSplit | EncodedSplit,
    facts: dict[str, Any],
) -> None:
    """Check that a run is continued with the same options and the same text.

    Raises:
        UsageError: The options differ; the message names every difference.
        TextError: The text differs.
    """
    then = facts["request"]
    names = [name for name in sorted(then | requested) if then.get(name) != requested.get(name)]
    if names:
        changes = [
            f"`{name}` was {_printable(then, name)} and is now {_printable(requested, name)}"
            for name in names
        ]
        raise UsageError(
            f"The run in {folder.path} was started with other options: {', '.join(changes)}.",
            "Give the same options to continue it, or add `fresh` to start again; the old run is "
            "moved aside, not deleted.",
        )
    was = facts["text"]["sha256"]
    if was != text.sha256:
        raise TextError(
            f"{text.name} has changed since the run in {folder.path} began "
            f"(SHA-256 {was[:12]}... then, {text.sha256[:12]}... now).",
            "Add `fresh` to start again with the new text; the old run is moved aside, not "
            "deleted.",
        )


def _printable(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "not given")
    return str(value) if str(value).isprintable() else repr(value)


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
