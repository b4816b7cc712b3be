"""The sampling rules, and the draw. Their order is in the docstring of `charrnn.sampling`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig
from charrnn.errors import ModelFileError
from charrnn.tokenizers.base import Ids

Logits = npt.NDArray[np.floating[Any]]


def ban(logits: Logits, banned: Sequence[int]) -> Logits:
    """Remove the ids in `banned`, and return float64."""
    kept = logits.astype(np.float64)
    kept[..., list(banned)] = -np.inf
    return kept


def apply_temperature(logits: Logits, temperature: float) -> Logits:
    """Shift the largest logit to 0 and divide by `temperature`; 0 keeps only the largest."""
    if temperature == 0:
        return keep_top_k(logits, 1)
    with np.errstate(over="ignore"):  # a tiny temperature may rightly turn the others into -inf
        scaled: Logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    return scaled


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` largest logits; of equals, those with the smaller ids."""
    return keep_first(logits, rank(logits), k)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest symbols whose probabilities sum to at least `p`; of equals, smaller ids.

    Nucleus sampling: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".
    """
    if p >= 1:  # keep all, even if a rounded sum reaches 1 before the rarest symbols
        return logits
    ranked = rank(logits)
    reached = np.cumsum(np.take_along_axis(softmax(logits), ranked, axis=-1), axis=-1)
    return keep_first(logits, ranked, 1 + (reached[..., :-1] < p).sum(axis=-1, keepdims=True))


def apply_min_p(logits: Logits, p: float) -> Logits:
    """Keep the symbols whose probability is at least `p` times the largest one.

    Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs".
    """
    return np.where(logits - logits.max(axis=-1, keepdims=True) >= np.log(p), logits, -np.inf)


def rank(logits: Logits) -> Ids:
    """Return the ids in descending order of their logits; equals in ascending order of id."""
    return np.argsort(-logits, axis=-1, kind="stable")


def keep_first(logits: Logits, ranked: Ids, count: int | Ids) -> Logits:
    """Keep the logits of the first `count` ids of `ranked`; `count` may be an array (..., 1)."""
    kept = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(kept, ranked, np.arange(logits.shape[-1]) < count, axis=-1)
    return np.where(kept, logits, -np.inf)


def softmax(logits: Logits) -> Logits:
    """Return the probabilities of `logits`."""
    weights: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Return the natural logarithms of the probabilities of `logits`, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def apply_rules(logits: Logits, config: SamplingConfig) -> Logits:
    """Apply the rules of `config` that need no memory of the text, in the package's order."""
    logits = apply_temperature(logits, config.temperature)
    if config.top_k is not None:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p is not None:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p is not None:
        logits = apply_min_p(logits, config.min_p)
    return logits


def draw(
    logits: Logits, config: SamplingConfig, uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Draw one symbol for each stream, by the inverse of the cumulative distribution.

    Args:
        logits: Predictions, (batch, vocab_size); -inf for what must not be drawn.
        config: The rules.
        uniform: A random number in [0, 1) for each stream, (batch,).

    Returns:
        Ids (batch,).

    Raises:
        ModelFileError: A stream's largest logit is not finite.
    """
    logits = check_finite(np.asarray(logits, dtype=np.float64))
    reached = np.exp(apply_rules(logits, config)).cumsum(axis=-1)
    # The first symbol whose cumulative sum exceeds the target. It never has probability 0, as its
    # sum would equal that of the symbol before it.
    ids: npt.NDArray[np.int64] = (reached <= (uniform * reached[:, -1])[:, None]).sum(axis=-1)
    return ids


def check_finite(logits: Logits) -> Logits:
    """Shift each stream's largest logit to 0; raise `ModelFileError` if it is not finite."""
    peaks = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(peaks).all():
        raise ModelFileError("The model's predictions are not finite: its weights are too large.")
    moved: Logits = logits - peaks
    return moved
