"""How a run starts: anew, from another model's weights, or where it stopped."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.config.schema import ModelConfig, TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.data.split import TextSplit
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.model.network import build
from charrnn.model.shapes import weight_shapes
from charrnn.runtime.device import choose_device
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel
from charrnn.storage.run_folder import RunFolder, SavedState
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict
from charrnn.training.plan import Plan
from charrnn.training.planning import PlannedRun
from charrnn.training.run import Run
from charrnn.training.trainer import Trainer

Weights = dict[str, npt.NDArray[np.float32]]

# What Python and torch raise when values are not of the kind, or arrays not of the shape, that they
# should be.
NO_FIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def begin(
    folder: RunFolder,
    asked: dict[str, Any],
    planned: PlannedRun,
    data: EncodedSplit,
    weights: Weights | None = None,
    group: ProcessGroup = ALONE,
) -> Run:
    """Begin a new run in an empty folder: write the state before its first step.

    All processes begin at once; the main one writes.

    Raises:
        UsageError: The folder holds a model already, and no state that it could be continued from.
    """
    group.all_or_none(lambda: _check_empty(folder) if group.is_main else None)
    trainer = _new_trainer(planned.plan, data, group)
    if weights is not None:
        tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
        trainer.model.load_state_dict(tensors)
    run = Run(folder, asked, planned.plan, trainer, planned.budget)
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
    asked: dict[str, Any],
    data: EncodedSplit,
    saved: SavedState,
    group: ProcessGroup = ALONE,
) -> Run:
    """Continue a run from its saved state; all processes do so at once.

    Raises:
        UsageError: Something else is asked for than was when the run began.
        TextError: The text is another.
        ModelFileError: The state has the right checksum, and yet contradicts itself.
    """
    with _sound(folder):
        check_same_run(folder, asked, data, saved.facts)
        plan = saved_plan(saved.facts, saved.arrays, data.tokenizer)
        run = Run(folder, saved.facts["request"], plan, _new_trainer(plan, data, group))
        run.trainer.restore(saved.arrays, saved.facts["trainer"])
        run.saved = replace(run.trainer.progress)
    group.all_or_none(lambda: _go_back(run) if group.is_main else None)
    return run


def _go_back(run: Run) -> None:
    """Let the log end where the state does, and the clock go on from there."""
    progress, metrics = run.trainer.progress, run.folder.metrics
    metrics.cut(progress.step, progress.evaluated_step)
    run.seconds = max((line.get("seconds", 0.0) for line in metrics.read()), default=0.0)


def saved_tokenizer(
    folder: RunFolder, asked: dict[str, Any], text: TextSplit, saved: SavedState
) -> Tokenizer:
    """Return a saved run's tokenizer, if the run can be continued.

    If it cannot, nothing has to be learned or encoded to find out.

    Raises:
        As `resume` does.
    """
    with _sound(folder):
        check_same_run(folder, asked, text, saved.facts)
        return tokenizer_from_dict(saved.facts["tokenizer"])


@contextmanager
def _sound(folder: RunFolder) -> Iterator[None]:
    """Say so if a state has the right checksum, and yet contradicts itself."""
    try:
        yield
    except NO_FIT as error:
        raise ModelFileError(
            f"The training state in {folder.path} contradicts itself, though its checksum is right: "
            "charrnn did not write it.",
            "Restore it from a copy, or start over with `fresh`, which moves it aside.",
        ) from error


def check_same_run(
    folder: RunFolder,
    asked: dict[str, Any],
    text: TextSplit | EncodedSplit,
    facts: dict[str, Any],
) -> None:
    """Raise an error with every difference if a run would be continued with something else.

    Raises:
        UsageError: The options differ.
        TextError: The text does.
    """
    then = facts["request"]
    names = [name for name in sorted(then | asked) if then.get(name) != asked.get(name)]
    if names:
        changes = [f"`{n}` was {_told(then, n)} and is now {_told(asked, n)}" for n in names]
        raise UsageError(
            f"The run in {folder.path} was begun with other options: {', '.join(changes)}.",
            "Give the same options to continue it, or add `fresh` to start again; the old run is "
            "moved aside, not deleted.",
        )
    was = facts["text"]["sha256"]
    if was != text.sha256:
        raise TextError(
            f"{text.name} has changed since the run in {folder.path} began "
            f"(SHA-256 {was[:12]}... then, {text.sha256[:12]}... now).",
            "Add `fresh` to start again with the new text; the old run is moved aside, not deleted.",
        )


def _told(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "not given")
    return str(value) if str(value).isprintable() else repr(value)


def saved_plan(facts: dict[str, Any], arrays: Arrays, tokenizer: Tokenizer) -> Plan:
    """Return a saved run's plan; raise an error of `NO_FIT` if it does not fit the weights."""
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
    """Return a model's weights for a vocabulary that was extended by new symbols at its end.

    A new symbol's rows are the mean of the old ones: no better guess is known, and it is on the right
    scale. The start symbol, whose row is the last of the embedding, stays last.
    """
    weights, rows = dict(start.weights), start.config.vocab_size
    for name in ("embedding.weight", "head_weight", "head_bias"):
        if name in weights and vocab_size > rows:
            old = weights[name]
            mean = old[:rows].mean(axis=0, keepdims=True)
            new = np.repeat(mean, vocab_size - rows, axis=0)
            weights[name] = np.concatenate([old[:rows], new, old[rows:]])
    return weights
