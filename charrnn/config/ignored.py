"""Settings that would have no effect beside others, which is refused rather than ignored."""

from collections.abc import Mapping
from typing import Any

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.errors import UsageError

DEFAULTS = vars(ModelConfig()) | vars(TrainConfig())
OF_NGRAMS = ("ngram_rows", "ngram_path", "ngram_dropout")
LABEL = "`target` label, which is one symbol"


def ignored_settings(given: Mapping[str, Any]) -> dict[str, str]:
    """Return those of some settings that have no effect, each with what it is that makes it so.

    Settings that are as by default are not among them: the configuration of a run has all.

    Args:
        given: Fields of `ModelConfig`, `TrainConfig` and `SourceConfig`.
    """
    reasons = _of_cells(given) | _of_batches(given)
    if given.get("target") == "label":
        unused = ("vocab_size", "attention", "ngram_embedding", "match_window", "match_length")
        reasons |= dict.fromkeys(unused, LABEL)
    return {
        name: why
        for name, why in reasons.items()
        if name in given and given[name] != DEFAULTS.get(name)
    }


def _of_cells(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a network that its cell or its n-grams do not use."""
    cell = given.get("cell", ModelConfig.cell)
    spec, reasons = CELLS[cell], dict[str, str]()
    if "activation" not in spec.gates.values():
        reasons["activation"] = f"`cell` {cell}"
    if not spec.forget_bias:
        reasons["forget_bias"] = f"`cell` {cell}, which has no such gate"
    if not spec.recurrent:
        reasons["orthogonal"] = f"`cell` {cell}, which has no recurrent matrix"
    if given.get("ngram_embedding") == 0:
        reasons |= dict.fromkeys(OF_NGRAMS, "`ngram_embedding` 0")
    if given.get("match_window") == 0:
        reasons["match_length"] = "`match_window` 0"
    return reasons


def _of_batches(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of truncation that the batches do not use."""
    if given.get("batcher") == "random":
        return {"bptt": "`batcher` random, which cuts windows"}
    if given.get("bptt") == "full" and given.get("records") is None:
        return {"seq_len": "`bptt` full, which cuts nothing within an epoch"}
    return {}


def refuse_ignored(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a setting was given that would have no effect beside the others."""
    for name, why in ignored_settings(given).items():
        raise UsageError(f"`{name}` has no effect with {why}.", "Leave one out.")


def refuse_tables(given: Mapping[str, Any]) -> None:
    """Refuse settings of n-gram embeddings for a run that has none unless they are asked for."""
    for name in OF_NGRAMS:
        if name in given:
            raise UsageError(
                f"`{name}` has no effect: without `ngram_embedding`, only models of characters or "
                "bytes have n-gram embeddings, without a source and with an `optimizer` other than "
                "sgd.",
                f"Give `ngram_embedding` too, or leave `{name}` out.",
            )
