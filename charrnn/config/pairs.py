"""The settings of a run whose records are pairs of a source and a target, beside each other."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from charrnn.config.source import SourceConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import UsageError

# Settings of training that have no meaning where each record is read as a whole.
UNCUT = ("batcher", "bptt", "bptt_stride", "seq_len", "seq_len_start")

# What some settings of a source are for.
ONLY_FOR = {
    "source_tokenizer": "text",
    "source_vocab_size": "text",
    "bidirectional": "text",
    "source_cell": "text",
    "source_layers": "text",
    "source_hidden_size": "text",
    "image_size": "image",
}


def source_config(settings: Mapping[str, Any]) -> SourceConfig | None:
    """Return the configuration of the source that some settings ask for, or None for no source.

    Args:
        settings: Fields of several configurations, those of `SourceConfig` among them.

    Raises:
        UsageError: Settings of a source are given without `source`, or contradict each other.
    """
    own = {spec.name: settings[spec.name] for spec in fields(SourceConfig) if spec.name in settings}
    if settings.get("source") is None:
        for name in own:
            raise UsageError(f"`{name}` needs `source`.", "Say `source` text, label or image.")
        return None
    config = SourceConfig(**own)
    defaults = TrainConfig()
    for name in UNCUT:
        if settings.get(name) not in (None, getattr(defaults, name)):
            raise UsageError(f"`{name}` cannot be used with `source`: records are never cut.")
    if settings.get("records") not in (None, "lines"):
        raise UsageError("`records` cannot be used with `source`: each line is a pair.")
    for name, kind in ONLY_FOR.items():
        if config.source != kind and getattr(config, name) != getattr(SourceConfig(), name):
            raise UsageError(f"`{name}` needs `source` {kind}, not {config.source}.")
    if config.source == "image" and config.source_embedding_size is not None:
        raise UsageError("`source_embedding_size` needs `source` text or label, not image.")
    if config.target == "label":
        for name in ("tokenizer", "tied", "adaptive"):
            if settings.get(name) not in (None, False, defaults.tokenizer):
                raise UsageError(f"`{name}` cannot be used with `target` label.")
    return config
