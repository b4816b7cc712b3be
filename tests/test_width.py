"""The width of a model follows from what it will see of the text, at made-up speeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.model.shapes import parameter_count
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import Throughput
from charrnn.training.width import (
    CHARACTERS_PER_PARAMETER,
    SHORT_BUDGETS,
    WIDTHS,
    choose_width,
    is_worth_its_width,
    with_fitting_width,
)


@given(
    seconds=st.floats(0.01, 1e6),
    speed=st.floats(1.0, 1e7),
    growth=st.floats(0.0, 3.0),
    length=st.integers(300_000, 10**9),
    cell=st.sampled_from(sorted(CELLS)),
)
def test_the_width_is_the_largest_that_is_worth_it(
    seconds: float, speed: float, growth: float, length: int, cell: str
) -> None:
    asked: list[int] = []

    def visible(shape: ModelConfig) -> float:
        asked.append(shape.hidden_size)
        return seconds * speed / (shape.hidden_size / 256) ** growth

    model = ModelConfig(vocab_size=65, cell=cell)
    chosen = choose_width(model, length, visible)
    first_guess, asked = asked, []
    enough = [
        width
        for width in WIDTHS
        if (seen := visible(shape := ModelConfig(vocab_size=65, cell=cell, hidden_size=width)))
        >= max(CHARACTERS_PER_PARAMETER, 15 / (1 + seen / length)) * parameter_count(shape)
    ]
    assert chosen == ModelConfig(vocab_size=65, cell=cell, hidden_size=max([*enough, WIDTHS[0]]))
    # few widths are measured: neighbours, each once
    numbers = sorted(WIDTHS.index(width) for width in first_guess)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert WIDTHS.index(chosen.hidden_size) - 1 <= numbers[0] or numbers[0] == WIDTHS.index(256)


@pytest.mark.parametrize(
    ("characters_per_second", "length", "expected"),
    [
        (1e3, 10**6, 96),
        (20e3, 10**6, 192),
        (60e3, 10**6, 256),
        (1e6, 10**6, 512),
        (20e3, 10**7, 128),
        (60e3, 10**7, 192),
        (60e3, 10**9, 128),
    ],
)
def test_a_minute_at_some_speeds(characters_per_second: float, length: int, expected: int) -> None:
    """Speeds at a width of 256; the time of a step grows with the square of the width."""

    def visible(shape: ModelConfig) -> float:
        return 70 * characters_per_second * (256 / shape.hidden_size) ** 2

    assert choose_width(ModelConfig(vocab_size=65), length, visible).hidden_size == expected


def test_in_the_first_pass_a_parameter_needs_more_characters_than_later() -> None:
    shape = ModelConfig(vocab_size=65, hidden_size=256)
    least = [
        next(c for c in range(0, 10**8, 10**4) if is_worth_its_width(shape, c, length))
        for length in (10**9, 10**6, 10**5)
    ]
    size = parameter_count(shape)
    assert least[0] > least[1] >= least[2]
    assert least[0] == pytest.approx(15 * size, rel=0.02)
    assert least[2] == pytest.approx(CHARACTERS_PER_PARAMETER * size, rel=0.02)


@pytest.mark.parametrize(
    ("characters_per_second", "with_members", "alone"),
    [(5e3, 256, 256), (15e3, 384, 384), (60e3, 384, 512), (75e3, 384, 512), (1e6, 512, 512)],
)
def test_members_are_worth_more_than_a_width_that_leaves_them_no_time(
    characters_per_second: float, with_members: int, alone: int
) -> None:
    """Speeds as above; the text has a million characters, the preset 1,560 seconds."""

    def measure(shape: ModelConfig, **_: float) -> Throughput:
        return Throughput(2048 / characters_per_second * (shape.hidden_size / 256) ** 2, 1.0)

    for members, expected in ((None, with_members), (1, alone)):
        request = TrainRequest(texts=("text",), preset="best", members=members)
        model = ModelConfig(vocab_size=65)
        fitting = with_fitting_width(request, model, 10**6, 2048 / 10**6, 1555.0, measure)
        assert fitting.hidden_size == expected


@pytest.mark.parametrize(("seconds", "width"), [(5.0, 96), (12.0, 128), (24.9, 128)])
def test_a_short_budget_measures_no_width(seconds: float, width: int) -> None:
    def measure(shape: ModelConfig, **_: float) -> Throughput:
        raise AssertionError(shape)

    request, model = TrainRequest(texts=("text",), seconds=15.0), ModelConfig(vocab_size=65)
    fitting = with_fitting_width(request, model, 10**6, 2048 / 10**6, seconds, measure)
    assert fitting.hidden_size == width
    assert width in dict(SHORT_BUDGETS).values()
