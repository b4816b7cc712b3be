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

import numpy as np

from charrnn.errors import counted
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


def score_interval(*runs: ScoreBreakdown) -> Interval | str:
    """Return the interval of a score, or the reason why there is none.

    Args:
        runs: Breakdowns of the same text by a model, one for each seed that it was trained with.
            The interval is then that of their mean, and the seeds' variance is added.
    """
    first = runs[0]
    if first.by_record and len(first.nats) < MIN_RECORDS:
        return f"the text has {counted(len(first.nats), 'record')}, and {MIN_RECORDS:,} are needed"
    if not first.by_record and too_short(first, MIN_CHARACTERS):
        length = first.score.characters
        return f"the text has {counted(length, 'character')}, and {MIN_CHARACTERS:,} are needed"
    nats, characters = _parts(runs, by_record=first.by_record)
    mean = nats.mean(axis=0)
    rate = mean.sum() / characters.sum()
    errors = (mean - rate * characters) / characters.mean()
    half = half_width(errors, independent=first.by_record)
    half = math.hypot(half, _seed_half_width(nats.sum(axis=1) / characters.sum()))
    found = _around(rate, half)
    return Interval(max(0.0, found.low), found.high)  # no text costs less than nothing


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
    nats, characters = _parts([*ours, *theirs], by_record=by_record)
    length = characters.sum()
    groups = nats[: len(ours)], nats[len(ours) :]
    difference = groups[0].mean(axis=0) - groups[1].mean(axis=0)
    rate = difference.sum() / length
    errors = (difference - rate * characters) / characters.mean()
    seeds = [_seed_half_width(group.sum(axis=1) / length) for group in groups]
    return _around(rate, math.hypot(half_width(errors, independent=by_record), *seeds))


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
    return Interval(float(nats - half) / LN2, float(nats + half) / LN2)


def _parts(runs: Sequence[ScoreBreakdown], *, by_record: bool) -> tuple[Nats, Nats]:
    """Return the losses of the parts of a text, (runs, parts), and their characters, (parts,).

    The parts are records, or cells of `CELL` characters, which are the same for all tokenizers.
    """
    if by_record:
        return np.stack([one.nats for one in runs]), runs[0].characters.astype(np.float64)
    rows = [_cells(one) for one in runs]
    count = min(map(len, rows))
    return np.stack([row[:count] for row in rows]), np.full(count, float(CELL))


def _cells(found: ScoreBreakdown) -> Nats:
    """Return the losses of successive `CELL` characters, by linear interpolation."""
    ends = np.concatenate([[0], np.cumsum(found.characters)])
    losses = np.concatenate([[0.0], np.cumsum(found.nats)])
    return np.diff(np.interp(np.arange(0, ends[-1] + 1, CELL), ends, losses))
