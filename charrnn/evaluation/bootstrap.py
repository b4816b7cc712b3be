"""Confidence interval of a score by the circular block bootstrap.

The losses of neighbouring tokens are correlated, so resampling single tokens would give an interval
that is too narrow. Whole blocks are resampled instead (Künsch 1989), from the text bent into a
circle, so that every token is in the same number of blocks (Politis & Romano 1992). The interval
covers the choice of the text, but not that of the trained model.
"""

import numpy as np
import numpy.typing as npt

from charrnn.evaluation.score import LN2, ScoreBreakdown

Array = npt.NDArray[np.float64]
CONFIDENCE = 0.95
BLOCK = 10  # pieces that are drawn together
MIN_PIECES, MAX_PIECES = 5 * BLOCK, 1000 * BLOCK
RESAMPLES = 2000


def interval(
    nats: Array, tokens: npt.NDArray[np.int64], *, seed: int = 1
) -> tuple[float, float] | None:
    """Return the bounds between which 95 % of the resampled texts' nats per token lie.

    Args:
        nats: Loss of each piece of the text, (pieces,), in the order of the text.
        tokens: Tokens in each piece, (pieces,). Ten pieces form a block, which should be longer
            than the correlations reach.
        seed: The same seed gives the same interval.

    Returns:
        The bounds, or None if the text has fewer than five blocks.
    """
    if len(nats) < MIN_PIECES:
        return None
    while len(nats) > MAX_PIECES:  # a long text has enough blocks; longer ones keep this fast
        nats, tokens = (
            np.add.reduceat(values, np.arange(0, len(values), 2)) for values in (nats, tokens)
        )
    blocks = -(-len(nats) // BLOCK)
    starts = np.random.default_rng(seed).integers(len(nats), size=(RESAMPLES, blocks))
    cost, length = (
        _block_sums(values)[starts].sum(axis=1) for values in (nats, tokens.astype(np.float64))
    )
    low, high = np.quantile(cost / length, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def bits_per_char_interval(found: ScoreBreakdown) -> list[float] | None:
    """Return the interval of a score in bits per character, with its tokens per character fixed."""
    bounds = interval(found.nats, found.tokens)
    per_character = found.score.tokens / found.score.characters / LN2
    return None if bounds is None else [bound * per_character for bound in bounds]


def _block_sums(values: Array) -> Array:
    """Return the sum of the block that starts at each position; the last ones wrap around."""
    total = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: BLOCK - 1]]))])
    sums: Array = total[BLOCK:] - total[:-BLOCK]
    return sums
