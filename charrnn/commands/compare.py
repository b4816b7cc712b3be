"""`charrnn compare`.

Models side by side on one held-out text, and what the text costs without any.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.api import Model, load
from charrnn.commands.score import (
    Part,
    ScoreOptions,
    baseline_costs,
    precision_used,
    read_parts,
    signature,
)
from charrnn.errors import ModelFileError, UsageError
from charrnn.model.shapes import parameter_count
from charrnn.storage.atomic import shown
from charrnn.terminal import console


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ScoreOptions):
    """What `charrnn compare` was asked."""

    models: Sequence[str]


def compare(options: CompareOptions) -> None:
    """Score models side by side on one text."""
    check_order(options)
    models = [
        load_named(name) for name in options.models
    ]  # all of them, before time is spent on one
    separator = common_separator(models, options)
    train, text = read_parts(options, separator)
    from charrnn.runtime.device import use_processor

    use_processor(options.threads)
    rows = [
        {"model": name} | scored(loaded, text, options)
        for name, loaded in zip(options.models, models, strict=True)
    ]
    costs = [cost.to_dict() for cost in baseline_costs(train, text, wanted=options.baselines)]
    if options.json:
        console.write_json({"models": rows, "baselines": costs})
    else:
        console.write_comparison(rows, costs)


def check_order(options: CompareOptions) -> None:
    """Raise `UsageError` unless there are models and, last, something that is not one."""
    order = "charrnn compare MODEL... TEXT"
    if is_model(options.texts[0]):
        raise UsageError(
            f"The last argument should be the text, but {shown(Path(options.texts[0]))} is a model.",
            f"Use {order}.",
        )
    if not options.models:
        raise UsageError(
            f"No model is given, only the text {shown(Path(options.texts[0]))}.", f"Use {order}."
        )


def is_model(path: str) -> bool:
    """Return whether a path is a run folder or looks like a model file."""
    return (Path(path) / "model.safetensors").is_file() or Path(path).suffix == ".safetensors"


def common_separator(models: Sequence[Model], options: CompareOptions) -> str | None:
    """Return how the models divide texts into records, if they agree.

    Raises:
        UsageError: They do not, so that they have held out different parts of a text, and that is
            asked for.
    """
    separators = {model.separator for model in models}
    if len(separators) > 1 and options.valid_fraction is not None:
        raise UsageError(
            "--valid-fraction means another part of the text to a model of records than to one of plain text.",
            "Give the held-out text as a file of its own.",
        )
    return separators.pop() if len(separators) == 1 else None


def load_named(name: str) -> Model:
    """Load one of several models.

    Raises:
        ModelFileError: It cannot be; the message names it.
    """
    try:
        return load(name)
    except ModelFileError as error:
        error.hint = (
            error.hint or "All arguments but the last are models: charrnn compare MODEL... TEXT."
        )
        raise


def scored(loaded: Model, text: Part, options: CompareOptions) -> dict[str, Any]:
    """Return what there is to say about one model."""
    from charrnn.evaluation.scoring import ScoringProtocol, evaluate

    sha256, encoded = text.encode(loaded, unknown="charge")
    protocol = ScoringProtocol.of(encoded)
    network, autocast = loaded.network(device=options.device, precision=options.precision)
    beginning = loaded.encode(next(text.chunks())[:1000])
    evaluate(network, loaded.tokenizer, beginning, protocol, autocast=autocast)  # for a warm start
    began = time.perf_counter()
    score = evaluate(network, loaded.tokenizer, encoded, protocol, autocast=autocast)
    seconds = time.perf_counter() - began
    return {
        "parameters": parameter_count(loaded.config),
        "tokenizer": loaded.tokenizer.kind,
        "tokens_per_char": score.tokens / score.characters,
        **score.to_dict(),
        "chars_per_second": score.characters / seconds,
        "signature": signature(
            loaded, str(protocol), precision_used(options.device, options.precision), sha256
        ),
    }
