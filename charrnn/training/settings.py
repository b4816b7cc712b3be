"""The settings of a run that do not depend on the speed of the machine. No torch."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from charrnn.config.ignored import refuse_tables
from charrnn.config.model import ModelConfig
from charrnn.config.presets import (
    cell_settings,
    find_preset,
    match_settings,
    ngram_settings,
    optimizer_settings,
    shape_settings,
    source_settings,
)
from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.data.records import LINES
from charrnn.errors import UsageError
from charrnn.tokenizers import LabelTokenizer, Tokenizer
from charrnn.training.request import TrainRequest

MODEL_FIELDS = frozenset(spec.name for spec in fields(ModelConfig)) - {"vocab_size", "source"}
TRAIN_FIELDS = frozenset(spec.name for spec in fields(TrainConfig))
DROPOUTS = ("dropout", "ngram_dropout")
MIN_ADAPTIVE = 2000  # symbols from which a plain softmax takes at least half of a step's time


def choose_settings(
    request: TrainRequest,
    tokenizer: Tokenizer,
    length: int,
    base: ModelConfig | None,
    source: SourceConfig | None = None,
    record: float = math.inf,
) -> tuple[ModelConfig, TrainConfig]:
    """Return all settings that do not depend on the speed of the machine.

    Args:
        request: What was requested.
        tokenizer: The tokenizer of the training text.
        length: Length of the training text; see `text_length`.
        base: The model to start from.
        source: What the records depend on.
        record: The mean length of the records, in characters.
    """
    find_preset(request.preset)  # checks the name
    chosen = shape_settings(length)
    chosen |= {} if source is None else source_settings(source.source, source.target, length)
    chosen |= cell_settings(request.settings.get("cell", ModelConfig().cell))
    chosen |= optimizer_settings(request.settings.get("optimizer", TrainConfig().optimizer))
    chosen |= request.settings
    settings = {name: value for name, value in chosen.items() if name in TRAIN_FIELDS}
    if not isinstance(tokenizer, LabelTokenizer):
        settings["tokenizer"] = tokenizer.kind  # with `init_from`, that model's
    config = TrainConfig(**settings | ({} if source is None else {"records": LINES}))
    if base is not None:
        model = replace(_shape_of_base(base, request.settings, tokenizer), source=source)
    else:
        model = _new_shape(chosen, config, tokenizer, length, source, record)
    if not model.ngram_embedding and "ngram_embedding" not in request.settings:
        refuse_tables(request.settings)
    given = request.settings
    if not model.match_window and "match_length" in given and "match_window" not in given:
        message = "`match_length` has no effect without `match_window`, which is 0 here."
        raise UsageError(message, "Give `match_window` too.")
    if model.adaptive and config.label_smoothing:  # not all probabilities are computed
        raise UsageError("`label_smoothing` cannot be used with `adaptive`.", "Leave one out.")
    return model, config


def _new_shape(
    chosen: Mapping[str, Any],
    config: TrainConfig,
    tokenizer: Tokenizer,
    length: int,
    source: SourceConfig | None,
    record: float,
) -> ModelConfig:
    """Return the shape of a model that starts from none; arguments as in `choose_settings`."""
    shape = {name: value for name, value in chosen.items() if name in MODEL_FIELDS}
    if source is None:
        shape = match_settings(tokenizer.kind, length, record, config.batcher) | shape
    if source is None and shape.get("ngram_embedding") != 0:
        shape = ngram_settings(tokenizer.kind, length) | shape
    if "adaptive" not in shape:
        # Adaptive softmax needs ids in order of decreasing frequency, which a vocabulary of
        # characters (the one with an unknown symbol) does not have.
        large = tokenizer.unknown is None and tokenizer.size >= MIN_ADAPTIVE
        unsuited = isinstance(tokenizer, LabelTokenizer) or config.label_smoothing
        shape["adaptive"] = large and not (shape.get("tied", False) or unsuited)
    return ModelConfig(**shape | {"vocab_size": tokenizer.size, "source": source})


def _shape_of_base(
    base: ModelConfig, given: Mapping[str, Any], tokenizer: Tokenizer
) -> ModelConfig:
    """Return the shape of a model that starts from `base`, from which only dropout may differ."""
    kept = base.to_dict() | {"vocab_size": tokenizer.size, "source": None}
    kept |= {name: given[name] for name in DROPOUTS if name in given}
    for name in given:
        if name in MODEL_FIELDS and kept[name] != given[name]:
            raise other_than_base(name, kept[name])
    return ModelConfig(**kept)


def other_than_base(name: str, value: Any, role: str = "init_from") -> UsageError:
    """Return the error for a setting that differs from that of the model with a role."""
    return UsageError(f"`{name}` cannot differ from the `{role}` model's, which is {value}.")
