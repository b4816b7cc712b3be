"""How far a score might move with another text of the same kind: the circular block bootstrap.

What neighbouring tokens cost is correlated, so tokens drawn one by one would make a score look more
certain than it is; whole blocks of the text are drawn instead, with the text bent into a ring so
that every token is in as many blocks (Politis & Romano 1992; blocks: Künsch 1989). What it covers
is the choice of the text, not that of the trained model.
"""

import numpy as np
import numpy.typing as npt

from charrnn.evaluation.score import LN2, ScoreBreakdown

Array = npt.NDArray[np.float64]
CONFIDENCE = 0.95
BLOCK = 10  # pieces that are drawn together
MIN_PIECES, MAX_PIECES = 5 * BLOCK, 1000 * BLOCK  # pieces
DRAWS = 2000


def interval(
    nats: Array, tokens: npt.NDArray[np.int64], *, seed: int = 1
) -> tuple[float, float] | None:
    """Return the bounds between which 95 % of the resampled texts' nats per token lie.

    Args:
        nats: What each piece of the text costs, (pieces,), in the order of the text.
        tokens: Tokens in each piece. Ten pieces are drawn together, so ten should be longer than
            what is correlated.
        seed: Of the draws: the same seed gives the same interval.

    Returns:
        The bounds, or None if the text has fewer than five blocks, too few to say anything.
    """
    if len(nats) < MIN_PIECES:
        return None
    while (
        len(nats) > MAX_PIECES
    ):  # a long text has blocks enough even if they are longer, and so it stays quick
        nats, tokens = (
            np.add.reduceat(values, np.arange(0, len(values), 2)) for values in (nats, tokens)
        )
    starts = np.random.default_rng(seed).integers(len(nats), size=(DRAWS, -(-len(nats) // BLOCK)))
    cost, length = (
        _ring_sums(values)[starts].sum(axis=1) for values in (nats, tokens.astype(np.float64))
    )
    low, high = np.quantile(cost / length, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def bits_per_char_interval(found: ScoreBreakdown) -> list[float] | None:
    """Return the interval of a score in bits per character, tokens per character as they are."""
    bounds = interval(found.nats, found.tokens)
    per_character = found.score.tokens / found.score.characters / LN2
    return None if bounds is None else [bound * per_character for bound in bounds]


def _ring_sums(values: Array) -> Array:
    """Return the sum of the `BLOCK` values from each place on, the first ones following the last."""
    reached = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: BLOCK - 1]]))])
    sums: Array = reached[BLOCK:] - reached[:-BLOCK]
    return sums
