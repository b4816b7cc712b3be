"""The sources of a run's records: how they are read, learned from, and encoded. No torch."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config.pairs import source_config
from charrnn.config.source import SourceConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.data.id_cache import encode_cached, encode_uncached
from charrnn.data.pairs import END
from charrnn.data.pictures import FEATURES, read_features
from charrnn.data.sources import SourceReader
from charrnn.data.split import TextSplit
from charrnn.errors import UsageError
from charrnn.storage.blend import Saved
from charrnn.storage.container import Arrays
from charrnn.storage.model_file import SavedModel
from charrnn.tokenizers import (
    FIXED_SIZE,
    LabelTokenizer,
    Tokenizer,
    tokenizer_from_dict,
    train_tokenizer,
)
from charrnn.training.inputs import RunInputs

# The settings that decide what the numbers of a source are.
READING = (
    "source",
    "target",
    "source_tokenizer",
    "source_vocab_size",
    "image_size",
    "feature_size",
)
EXAMPLES = 20  # sources among which the shortest is shown
LEARNING = "Learning the vocabulary of the sources"


def new_reader(settings: Mapping[str, Any], inputs: RunInputs) -> SourceReader:
    """Return what reads the sources of a new run.

    Sources are read as the model to start from and the teacher read them, if these have any.

    Args:
        settings: The settings that were given.
        inputs: The inputs of the run, which has sources.

    Raises:
        UsageError: The settings do not suit the sources, or the other models.
        TextError: The sources cannot be used.
    """
    config, start, teacher = source_config(settings), inputs.start, inputs.teacher
    assert config is not None
    assert inputs.sources is not None
    if start is not None and start.config.source is not None:
        reader = _reader_of_start(start, settings)
    elif inputs.source_start is not None:
        reader = SourceReader(*of_language_model(config, settings, inputs.source_start))
    elif teacher is not None:
        return _reader_of_teacher(config, teacher, settings)
    else:
        reader = _learned_reader(config, inputs.sources)
    if teacher is not None:
        _check_reads_as_teacher(reader, teacher)
    return reader


def _learned_reader(config: SourceConfig, sources: TextSplit) -> SourceReader:
    """Return what reads sources, after learning a vocabulary."""
    tokenizer: Tokenizer | None = None
    if config.source == "label":
        tokenizer = learn_labels(sources)
    elif config.source == "text":
        _check_vocabulary(config)
        units = sources.train.units(LEARNING)
        tokenizer = train_tokenizer(config.source_tokenizer, units, config.source_vocab_size)
    else:
        first = next(sources.train.units(LEARNING))
        if first.lower().endswith(FEATURES):
            if config.image_size != SourceConfig().image_size:
                raise UsageError("`image_size` has no effect on features.", "Leave it out.")
            config = replace(config, feature_size=read_features(Path(first)).shape[1])
    size = tokenizer.size if tokenizer is not None else None
    return SourceReader(replace(config, source_vocab_size=size), tokenizer)


def _reader_of_teacher(
    config: SourceConfig, teacher: Saved, settings: Mapping[str, Any]
) -> SourceReader:
    """Return what reads sources as a teacher does, whose symbols settings cannot change."""
    theirs = teacher.source
    assert theirs is not None
    kept = {name: getattr(theirs, name) for name in READING}
    check_kept(kept, {"target": config.target, **settings}, "teacher")
    return SourceReader(replace(config, **kept), teacher.source_tokenizer)


def _check_reads_as_teacher(reader: SourceReader, teacher: Saved) -> None:
    """Raise `UsageError` if a model to start from reads other sources, or other symbols."""
    theirs = teacher.source
    assert theirs is not None
    if theirs.what != reader.config.what:
        own = reader.config.what
        message = f"The `teacher` reads {theirs.what}, the model to start from {own}."
        raise UsageError(message, "They need sources of one kind.")
    if teacher.source_tokenizer != reader.tokenizer:
        raise UsageError("The `teacher` reads sources in other symbols than the model starts with.")


def _check_vocabulary(config: SourceConfig) -> None:
    if config.source_vocab_size is not None and config.source_tokenizer in FIXED_SIZE:
        raise UsageError(
            f"`source_vocab_size` cannot be used with `source_tokenizer` {config.source_tokenizer}."
        )


def learn_labels(split: TextSplit) -> LabelTokenizer:
    """Return the labels of the training part, and of a held-out part of the same text."""
    labels = LabelTokenizer.train(split.train.units(LEARNING))
    same = split.train.text is split.valid.text
    return labels.extended(split.valid.units(LEARNING)) if same else labels


def _reader_of_start(start: SavedModel, settings: Mapping[str, Any]) -> SourceReader:
    """Return what reads the sources of a model to start from, which settings cannot change."""
    config = start.config.source
    assert config is not None
    check_kept(config.to_dict(), settings, "init_from")
    return SourceReader(config, start.source_tokenizer)


def of_language_model(
    config: SourceConfig, settings: Mapping[str, Any], start: SavedModel
) -> tuple[SourceConfig, Tokenizer]:
    """Return a configuration and a tokenizer for sources that are read as a language model reads.

    Raises:
        UsageError: The model cannot be used for that, or the settings differ from it.
    """
    model = start.config
    if model.residual or model.source is not None or isinstance(start.tokenizer, LabelTokenizer):
        what = "a source" if model.source is not None else "residual connections"
        raise UsageError(f"`init_source_from` cannot use a model with {what}.")
    if model.ngram_embedding or model.match_window:
        message = "`init_source_from` cannot use a model with n-gram or match embeddings."
        raise UsageError(message, "Train it with `ngram_embedding` 0 and `match_window` 0.")
    kept: dict[str, Any] = {
        "source_tokenizer": start.tokenizer.kind,
        "source_vocab_size": start.tokenizer.size,
        "source_cell": model.cell,
        "source_layers": model.num_layers,
        "source_hidden_size": model.hidden_size,
        "source_embedding_size": model.embedding_size,
    }
    check_kept(kept, settings, "init_source_from")
    if settings.get("layer_norm", True) != model.layer_norm:
        raise UsageError(
            f"`layer_norm` must be as in the `init_source_from` model: {model.layer_norm}."
        )
    return replace(config, **kept), start.tokenizer


def check_kept(kept: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> None:
    """Raise `UsageError` if a setting was given that differs from the model to start from."""
    for setting, value in kept.items():
        if settings.get(setting) not in (None, value):
            raise UsageError(f"`{setting}` cannot differ from the `{name}` model's, {value}.")


def encoder_weights(start: SavedModel, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return the weights of what reads a text in the forward direction, from a language model.

    Where a layer also reads the other direction's outputs, it begins without looking at them, so
    that the forward direction first computes what the language model does.

    Args:
        start: The language model.
        shapes: The shapes of the new model's weights.
    """
    size = start.tokenizer.size
    found = {"source.encoder.embedding.weight": start.weights["embedding.weight"][:size]}
    for name, value in start.weights.items():
        if not name.startswith("layers."):
            continue
        layer, _, rest = name.removeprefix("layers.").partition(".")
        part, _, own = rest.partition(".")
        group = "directions" if part == "cell" else "norms"
        target = f"source.encoder.layers.{layer}.{group}.0.{own}"
        new = np.zeros(shapes[target], np.float32)
        new[..., : value.shape[-1]] = value
        found[target] = new
    return found


def example_source(sources: TextSplit | None) -> str | None:
    """Return a short one of the first sources, which can be typed to try a model, if there is one.

    Args:
        sources: The sources of a text's records; None if they have none.
    """
    if sources is None:
        return None
    first = (unit.removesuffix(END) for unit in islice(sources.train.units(LEARNING), EXAMPLES))
    return min((one for one in first if one.isprintable() and one != "-"), key=len, default=None)


def reader_to_dict(reader: SourceReader | None) -> dict[str, Any] | None:
    """Return what `reader_from_dict` needs, as JSON values."""
    if reader is None:
        return None
    tokenizer = reader.tokenizer and reader.tokenizer.to_dict()
    return {"config": reader.config.to_dict(), "tokenizer": tokenizer}


def reader_from_dict(values: dict[str, Any] | None) -> SourceReader | None:
    """Return the reader that `reader_to_dict` described."""
    if values is None:
        return None
    tokenizer = values["tokenizer"] and tokenizer_from_dict(values["tokenizer"])
    return SourceReader(SourceConfig.from_dict(values["config"]), tokenizer)


def with_sources(
    data: EncodedSplit, sources: TextSplit, reader: SourceReader, path: Path | None
) -> EncodedSplit:
    """Return an encoded text with the sources of its records.

    Args:
        data: The targets.
        sources: The sources, in the same order.
        reader: What reads them.
        path: Where they are kept; None is a temporary file.
    """
    tokenizer = reader.encoder
    found = (
        encode_uncached(tokenizer, sources)
        if path is None
        else encode_cached(tokenizer, sources, path)
    )
    train, valid = (
        replace(targets, sources=reader.of(part.ids, part.starts))
        for targets, part in ((data.train, found.train), (data.valid, found.valid))
        if part.starts is not None
    )
    return replace(data, train=train, valid=valid, reader=reader)
