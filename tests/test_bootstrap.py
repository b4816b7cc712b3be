"""The interval against what is known of means: its width, and how often it covers the truth."""

import numpy as np
import pytest

from charrnn.evaluation.bootstrap import MAX_PIECES, interval


def pieces(count: int, seed: int = 1, size: int = 100) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(seed).normal(200, 30, size=count), np.full(count, size)


def test_independent_pieces_give_the_textbooks_interval() -> None:
    nats, tokens = pieces(2000)
    low, high = interval(nats, tokens)  # type: ignore[misc]
    error = nats.std() / np.sqrt(len(nats)) / 100
    assert (low + high) / 2 == pytest.approx(nats.sum() / tokens.sum(), abs=error / 4)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_correlated_pieces_give_a_wider_one() -> None:
    nats, tokens = pieces(2000)
    smooth = np.convolve(nats - 200, np.ones(8), "same") / 8**0.5 + 200  # about the same variance
    low, high = interval(nats, tokens)  # type: ignore[misc]
    low_smooth, high_smooth = interval(smooth, tokens)  # type: ignore[misc]
    assert high_smooth - low_smooth > 1.8 * (high - low)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    found = [interval(*pieces(300, seed=seed)) for seed in range(200)]
    covered = sum(low <= 2.0 <= high for low, high in found)  # type: ignore[misc]
    assert 175 <= covered <= 199


def test_the_seed_decides_and_pieces_that_are_all_alike_leave_no_doubt() -> None:
    assert interval(*pieces(100), seed=3) == interval(*pieces(100), seed=3)
    assert interval(*pieces(100), seed=3) != interval(*pieces(100), seed=4)
    assert interval(np.full(60, 150.0), np.full(60, 100)) == (
        pytest.approx(1.5),
        pytest.approx(1.5),
    )


def test_a_short_last_piece_counts_by_its_length() -> None:
    nats, tokens = np.full(60, 150.0), np.full(60, 100)
    nats[-1], tokens[-1] = 1.5, 1
    assert interval(nats, tokens) == (pytest.approx(1.5), pytest.approx(1.5))


@pytest.mark.parametrize("count", [0, 1, 49])
def test_a_short_text_has_none(count: int) -> None:
    assert interval(*pieces(count)) is None


def test_a_long_text_has_one_of_the_same_width_in_little_memory() -> None:
    nats, tokens = pieces(5 * MAX_PIECES + 1)
    low, high = interval(nats, tokens)  # type: ignore[misc]
    assert high - low == pytest.approx(2 * 1.96 * nats.std() / np.sqrt(len(nats)) / 100, rel=0.15)
