"""How a run starts: anew, from another model's weights, or where it stopped."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.schema import ModelConfig, TrainConfig, flag
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.model.shapes import weight_shapes
from charrnn.runtime.distributed import ALONE, Ranks
from charrnn.storage.container import Arrays, SavedModel
from charrnn.storage.run_folder import RunFolder
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict
from charrnn.training.plan import Plan, Request, describe_device
from charrnn.training.run import Data, Session

# what Python and torch raise when values are not of the kind, or arrays not of the shape, that they
# should be
NO_FIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def begin(
    folder: RunFolder,
    request: Request,
    plan: Plan,
    tokenizer: Tokenizer,
    data: Data,
    weights: dict[str, npt.NDArray[np.float32]] | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """Begin a new run in an empty folder: write the state before its first step.

    All ranks begin at once; the first one writes.

    Raises:
        UsageError: The folder holds a model already, and no state that it could be trained on from.
    """
    ranks.together(lambda: _check_empty(folder) if ranks.first else None)
    session = Session(folder, request.to_dict(), plan, tokenizer, data, weights, ranks)
    session.save()
    return session


def _check_empty(folder: RunFolder) -> None:
    if folder.model.exists():
        raise UsageError(
            f"{folder.path} holds a model but no training state to continue from.",
            "Choose another folder with --out, or add --fresh to move it aside and begin again.",
        )


def resume(
    folder: RunFolder,
    request: Request,
    data: Data,
    saved: tuple[Arrays, dict[str, Any]],
    ranks: Ranks = ALONE,
) -> Session:
    """Continue a run from its saved state.

    All ranks do so at once, with what the first one has read.

    Raises:
        UsageError: The request differs from the one that began the run.
        TextError: The text does.
        ModelFileError: The state has the right checksum, and yet contradicts itself.
    """
    session = _resumed(folder, request, data, *saved, ranks)
    ranks.together(lambda: _go_back(session) if ranks.first else None)
    return session


def _go_back(session: Session) -> None:
    """Let the log end where the state does, and the clock go on from there."""
    progress = session.trainer.progress
    session.folder.cut_metrics(progress.step, progress.evaluated_step)
    session.seconds = max(
        (line.get("seconds", 0.0) for line in session.folder.read_metrics()), default=0.0
    )


def saved_tokenizer(
    folder: RunFolder, request: Request, name: str, sha256: str, facts: dict[str, Any]
) -> Tokenizer:
    """Return a saved run's tokenizer, so that nothing has to be learned, or encoded, if the run cannot be continued.

    Args:
        folder: The run.
        request: What is asked for now.
        name: Of the text that is given now.
        sha256: Its SHA-256.
        facts: What the run's state says.

    Raises:
        As `resume` does.
    """
    with _sound(folder):
        _check_same(folder, request, name, sha256, facts)
        return tokenizer_from_dict(facts["tokenizer"])


@contextmanager
def _sound(folder: RunFolder) -> Iterator[None]:
    """Say so if a state has the right checksum, and yet contradicts itself."""
    try:
        yield
    except NO_FIT as error:
        raise ModelFileError(
            f"The training state in {folder.path} contradicts itself, though its checksum is right: "
            "charrnn did not write it.",
            "Restore it from a copy, or start over with --fresh, which moves it aside.",
        ) from error


def _check_same(
    folder: RunFolder, request: Request, name: str, sha256: str, facts: dict[str, Any]
) -> None:
    check_same_request(facts["request"], request.to_dict(), folder)
    was = facts["text"]["sha256"]
    if was != sha256:
        raise TextError(
            f"{name} has changed since the run in {folder.path} began "
            f"(SHA-256 {was[:12]}... then, {sha256[:12]}... now).",
            "Add --fresh to begin again with the new text; the old run is moved aside, not deleted.",
        )


def _resumed(
    folder: RunFolder,
    request: Request,
    data: Data,
    arrays: Arrays,
    facts: dict[str, Any],
    ranks: Ranks,
) -> Session:
    with _sound(folder):
        _check_same(folder, request, data.name, data.sha256, facts)
        plan, tokenizer = _described(arrays, facts, ranks)
        session = Session(folder, facts["request"], plan, tokenizer, data, ranks=ranks)
        session.trainer.restore(arrays, facts["trainer"])
        session.saved = replace(session.trainer.progress)
        return session


def _described(arrays: Arrays, facts: dict[str, Any], ranks: Ranks) -> tuple[Plan, Tokenizer]:
    """Return a saved run's plan and tokenizer.

    Raise an error of `NO_FIT` if they and its weights do not fit.
    """
    model, train = ModelConfig.from_dict(facts["model"]), TrainConfig.from_dict(facts["train"])
    tokenizer = tokenizer_from_dict(facts["tokenizer"])
    shapes = {f"model.{name}": shape for name, shape in weight_shapes(model).items()}
    if tokenizer.size != model.vocab_size or shapes != {
        n: a.shape for n, a in arrays.items() if n[:6] == "model."
    }:
        raise ValueError(
            "configuration, vocabulary and weights differ"
        )  # before anything is allocated
    if facts["precision"] not in ("fp32", "bf16", "fp16") or not math.isfinite(facts["epochs"]):
        raise ValueError("precision or length")
    device = describe_device(train, ranks)
    return Plan(
        model=model,
        train=train,
        device=device,
        precision=facts["precision"],
        epochs=facts["epochs"],
    ), tokenizer


def check_same_request(then: dict[str, Any], now: dict[str, Any], folder: RunFolder) -> None:
    """Raise `UsageError` with every difference if a run would be continued with other options."""
    names = [name for name in sorted(then | now) if then.get(name) != now.get(name)]
    if not names:
        return
    changes = ", ".join(
        f"{flag(name)} was {_told(then, name)} and is now {_told(now, name)}" for name in names
    )
    raise UsageError(
        f"The run in {folder.path} was begun with other options: {changes}.",
        "Give the same options to continue it, or add --fresh to begin again; the old run is moved aside, not deleted.",
    )


def _told(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "not given")
    return str(value) if str(value).isprintable() else repr(value)


def starting_weights(start: SavedModel, config: ModelConfig) -> dict[str, npt.NDArray[np.float32]]:
    """Return a model's weights for a vocabulary that was extended by new symbols at its end.

    A new symbol's rows are the mean of the old ones: no better guess is known, and it is on the
    right scale. The start symbol, whose row is the last of the embedding, stays last.
    """
    weights = dict(start.weights)
    more = config.vocab_size - start.config.vocab_size
    if more:
        for name in ("embedding.weight", "head_weight", "head_bias"):
            if name in weights:
                old = weights[name]
                rows = start.config.vocab_size
                new = np.repeat(old[:rows].mean(axis=0, keepdims=True), more, axis=0)
                weights[name] = np.concatenate([old[:rows], new, old[rows:]])
    return weights
