"""The intervals against what is known of means: their width, and how often they hold the truth."""

from collections.abc import Sequence

import numpy as np
import pytest

from charrnn.evaluation.interval import (
    MIN_CHARACTERS,
    MIN_RECORDS,
    Interval,
    difference_interval,
    half_width,
    score_interval,
    student_t,
)
from charrnn.evaluation.score import LN2, PIECE, Score, ScoreBreakdown


def breakdown(nats: np.ndarray, *, size: int = PIECE, by_record: bool = False) -> ScoreBreakdown:
    """Return the breakdown of a text of pieces of so many characters."""
    characters = np.full(len(nats), size)
    length = int(characters.sum())
    return ScoreBreakdown(Score(nats.sum(), length, length, length), nats, characters, by_record)


def text_of_documents(tokens: int, document: int, seed: int, share: float = 0.3) -> np.ndarray:
    """Draw the losses of pieces of a text whose documents differ; their mean is 2 per character.

    Args:
        tokens: Length of the text.
        document: Length of each document in tokens; the text begins inside of one.
        seed: Decides on the text.
        share: Of the variance of a piece's losses that is due to its document.
    """
    rng, count = np.random.default_rng(seed), tokens // PIECE
    place = (np.arange(count) + rng.integers(max(1, document // PIECE))) // (document // PIECE)
    own = rng.normal(size=count) * (1 - share) ** 0.5
    return 200 + 40 * (own + share**0.5 * rng.normal(size=place.max() + 1)[place])


def covered(texts: Sequence[np.ndarray], truth: float = 2 / LN2) -> tuple[int, int]:
    """Return how many texts have an interval, and how many of these hold the truth."""
    found = [score_interval(breakdown(text)) for text in texts]
    shown = [one for one in found if isinstance(one, Interval)]
    return len(shown), sum(one.low <= truth <= one.high for one in shown)


@pytest.mark.parametrize("document", [300, 3000, 30_000])
@pytest.mark.parametrize("tokens", [20_000, 100_000, 250_000, 1_000_000])
def test_where_an_interval_is_shown_it_holds_the_truth_nine_times_in_ten(
    tokens: int, document: int
) -> None:
    shown, right = covered([text_of_documents(tokens, document, seed) for seed in range(400)])
    if tokens < MIN_CHARACTERS:
        assert shown == 0
    else:
        assert shown == 400
        assert right >= 360


def test_a_text_without_documents_gets_an_interval_of_a_reasonable_width() -> None:
    widths = []
    for seed in range(50):
        nats = text_of_documents(1_000_000, PIECE, seed)
        found = score_interval(breakdown(nats))
        assert isinstance(found, Interval)
        error = nats.std() / len(nats) ** 0.5 / PIECE / LN2
        widths.append((found.high - found.low) / (2 * 1.96 * error))
        assert (found.low + found.high) / 2 == pytest.approx(nats.mean() / PIECE / LN2)
    assert 1 < np.mean(widths) < 1.6


def test_records_are_independent_and_few_suffice() -> None:
    rng, right = np.random.default_rng(1), 0
    for _ in range(400):
        sizes = rng.integers(1, 20, size=MIN_RECORDS)
        nats = 2.0 * sizes + rng.normal(size=MIN_RECORDS) * 3
        score = Score(nats.sum(), sizes.sum(), sizes.sum(), sizes.sum())
        found = score_interval(ScoreBreakdown(score, nats, sizes, by_record=True))
        assert isinstance(found, Interval)
        right += found.low <= 2 / LN2 <= found.high
    assert 368 <= right <= 396  # 95 % of 400, give or take


@pytest.mark.parametrize("count", [1, 50, 2499])
def test_a_short_text_has_none_and_says_why(count: int) -> None:
    why = score_interval(breakdown(np.full(count, 200.0)))
    assert why == f"the text has {count * PIECE:,} characters, and 250,000 are needed"
    why = score_interval(breakdown(np.full(7, 200.0), by_record=True))
    assert why == "the text has 7 records, and 200 are needed"


def test_losses_that_are_all_alike_leave_no_doubt() -> None:
    found = score_interval(breakdown(np.full(3000, 150.0)))
    assert isinstance(found, Interval)
    assert found.bounds == [pytest.approx(1.5 / LN2)] * 2


def test_an_interval_does_not_begin_below_zero() -> None:
    nats = np.zeros(300)
    nats[0] = 100.0  # one record was hard, and all others were certain
    found = score_interval(breakdown(nats, by_record=True))
    assert isinstance(found, Interval)
    assert found.low == 0 < nats.mean() / PIECE / LN2 < found.high


def test_a_difference_is_taken_part_by_part() -> None:
    """What is hard for both models does not count, and the pieces need not have the same size."""
    hard = text_of_documents(100_000, 3000, seed=1)
    ours, theirs = breakdown(hard), breakdown(np.repeat(hard + 10, 2) / 2, size=PIECE // 2)
    found = difference_interval([ours], [theirs])
    assert found is not None
    assert found.bounds == [pytest.approx(-0.1 / LN2, abs=1e-9)] * 2
    assert difference_interval([breakdown(hard[:400])], [breakdown(hard[:400])]) is None


def test_the_seeds_noise_is_added_to_the_texts() -> None:
    rng = np.random.default_rng(2)
    seeds = [breakdown(np.full(1000, 200.0 + noise)) for noise in rng.normal(size=3)]
    fixed = [breakdown(np.full(1000, 201.0))]
    found = difference_interval(seeds, fixed)
    assert found is not None
    rates = np.array([one.score.bits_per_char for one in seeds])
    half = student_t(2) * rates.std(ddof=1) / 3**0.5
    assert found.bounds == pytest.approx(
        [rates.mean() - 2.01 / LN2 - half, rates.mean() - 2.01 / LN2 + half]
    )


def test_differences_without_documents_are_found_as_often_as_is_said() -> None:
    wrong = 0
    for seed in range(400):
        first, second = (text_of_documents(100_000, PIECE, 2 * seed + k) for k in (0, 1))
        found = difference_interval([breakdown(first)], [breakdown(second)])
        assert found is not None
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 24


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (10, 2.228)]
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_t(freedom) == pytest.approx(expected, abs=0.005)


def test_slow_variations_widen_it() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=3000)
    slow = np.cumsum(rng.normal(size=3000)) / 50
    assert half_width(slow - slow.mean()) > 5 * half_width(noise - noise.mean())
