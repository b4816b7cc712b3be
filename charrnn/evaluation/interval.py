"""How far a score, or the difference of two scores, may be from that of a whole source of text.

An interval of 95 % is meant for another sample of the same source, of the same size, not for
another kind of text, and not for a model trained again. What makes such intervals hard is that the
losses of a text are correlated over whole documents, so that a text has far fewer independent parts
than tokens. The variance of the mean is therefore estimated from the slowest variations that the
text shows: the mean power of the losses' first k cosine coefficients, with the quantile of
Student's t for k degrees of freedom (Müller 2004; Lazarus, Lewis, Stock and Watson 2018, "HAR
Inference: Recommendations for Practice"). The widest of several k counts. A text shorter than
`MIN_CHARACTERS` may be one document, whose losses cannot tell how others vary: it has no interval.

Blocks of a length chosen by the rule of Politis and White (2004), and tests of stationarity, were
tried too. They cover less, because they trust exactly those texts that happen to look even
(tests/benchmarks/intervals.py).

Records are independent of each other, so that no such care is needed: their losses are resampled by
formula, each record as one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.evaluation.score import LN2, Nats, ScoreBreakdown

COEFFICIENTS = (4, 8, 16)
MIN_CHARACTERS = 250_000
# A difference between two models varies less from document to document than the models' losses do.
MIN_CHARACTERS_OF_DIFFERENCE = 50_000
MIN_PIECES = 64
MIN_RECORDS = 200
EXACT_T = {1: 12.7062, 2: 4.3027}  # where the series of `student_t` is too coarse
CELL = 100  # characters of the parts by which two models are compared


@dataclass(frozen=True)
class Interval:
    """An interval of 95 %, in bits per character.

    Attributes:
        low: Its lower bound.
        high: Its upper bound.
    """

    low: float
    high: float

    @property
    def bounds(self) -> list[float]:
        """The two bounds."""
        return [self.low, self.high]


def score_interval(found: ScoreBreakdown) -> Interval | str:
    """Return the interval of a score, or the reason why there is none."""
    if found.by_record and len(found.nats) < MIN_RECORDS:
        return f"the text has {len(found.nats):,} records, and {MIN_RECORDS:,} are needed"
    if not found.by_record and too_short(found, MIN_CHARACTERS):
        length = found.score.characters
        return f"the text has {length:,} characters, and {MIN_CHARACTERS:,} are needed"
    rate = found.nats.sum() / found.characters.sum()
    errors = (found.nats - rate * found.characters) / found.characters.mean()
    return _around(rate, half_width(errors, independent=found.by_record))


def interval_facts(interval: Interval | str) -> dict[str, Any]:
    """Return an interval, or the reason why there is none, as JSON values."""
    if isinstance(interval, str):
        return {"interval": None, "no_interval": interval}
    return {"interval": interval.bounds, "no_interval": None}


def difference_interval(
    ours: Sequence[ScoreBreakdown], theirs: Sequence[ScoreBreakdown]
) -> Interval | None:
    """Return the interval of the difference in bits per character between two models.

    The models are compared part by part of the text (paired), so that what is hard for both does
    not count. If a model was trained with several seeds, the seeds' variance is added.

    Args:
        ours: The breakdowns of the first model, one for each seed, of the same text.
        theirs: Those of the second.

    Returns:
        The interval, or None for a text that is too short.
    """
    by_record = ours[0].by_record and theirs[0].by_record
    short = len(ours[0].nats) < MIN_RECORDS
    if short if by_record else too_short(ours[0], MIN_CHARACTERS_OF_DIFFERENCE):
        return None
    parts = [[_parts(one, by_record=by_record) for one in group] for group in (ours, theirs)]
    cells = min(len(one) for group in parts for one in group)
    first, second = (np.stack([one[:cells] for one in group]) for group in parts)
    length = ours[0].characters.sum()
    errors = (first.mean(axis=0) - second.mean(axis=0)) * (cells / length)
    text = half_width(errors - errors.mean(), independent=by_record)
    seeds = [_seed_half_width(group.sum(axis=1) / length) for group in (first, second)]
    return _around(float(errors.mean()), math.hypot(text, *seeds))


def too_short(found: ScoreBreakdown, characters: int) -> bool:
    """Return whether a text has fewer characters, or too few pieces to see slow variations."""
    return found.score.characters < characters or len(found.nats) < MIN_PIECES


def half_width(errors: Nats, *, independent: bool = False) -> float:
    """Return half the width of the interval of a series' mean.

    Args:
        errors: The series, (count,), with a mean of about 0.
        independent: Whether the entries are known to be independent.
    """
    count = len(errors)
    if independent:
        return student_t(count - 1) * math.sqrt(errors.var(ddof=1) / count)
    power = cosine_power(errors, max(COEFFICIENTS))
    return max(student_t(k) * math.sqrt(float(power[:k].mean()) / count) for k in COEFFICIENTS)


def cosine_power(series: Nats, count: int) -> Nats:
    """Return the squares of the first `count` coefficients of the cosine transform, without 0."""
    place = (np.arange(len(series)) + 0.5) / len(series)
    waves = (np.cos(math.pi * k * place) for k in range(1, count + 1))
    return np.array([2 / len(series) * (series @ wave) ** 2 for wave in waves])


def student_t(freedom: int) -> float:
    """Return the quantile of 97.5 % of Student's t (Abramowitz and Stegun, 26.7.5)."""
    if freedom in EXACT_T:
        return EXACT_T[freedom]
    z = 1.959963984540054
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))


def _seed_half_width(scores: Nats) -> float:
    """Return half the width that the seeds add: none if there is only one."""
    count = len(scores)
    if count == 1:
        return 0.0
    return student_t(count - 1) * float(scores.std(ddof=1)) / math.sqrt(count)


def _around(nats: float, half: float) -> Interval:
    return Interval((nats - half) / LN2, (nats + half) / LN2)


def _parts(found: ScoreBreakdown, *, by_record: bool) -> Nats:
    """Return the losses of records, or of cells of `CELL` characters, in the order of the text."""
    if by_record:
        return found.nats
    ends = np.concatenate([[0], np.cumsum(found.characters)])
    cells = np.arange(0, ends[-1] + 1, CELL)
    return np.diff(np.interp(cells, ends, np.concatenate([[0.0], np.cumsum(found.nats)])))
