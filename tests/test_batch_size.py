"""The batch size of a run with a time budget follows from the speed, at made-up speeds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.presets import LONG_TEXT
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded
from charrnn.training.batch_size import (
    AS_FAST,
    FASTER_PER_EPOCH,
    FEWEST_STEPS,
    MOST,
    choose_batch_size,
    may_choose_batch_size,
)
from charrnn.training.request import TrainRequest

SECONDS, USUAL = 60.0, 32


class Machine:
    """Reads a text of some length in batches, faster by a factor when they are twice as large."""

    def __init__(self, tokens_per_second: float, factor: float, length: float) -> None:
        self.speed, self.factor, self.length = tokens_per_second, factor, length
        self.tried: list[int] = []

    def __call__(self, size: int) -> tuple[int, float]:
        self.tried.append(size)
        doublings = (size // USUAL).bit_length() - 1
        tokens = SECONDS * self.speed * self.factor**doublings
        return int(tokens / (64 * size)), tokens / self.length


@pytest.mark.parametrize(
    ("factor", "length", "expected"),
    [
        (0.8, 1e9, 32),  # slower
        (1.0, 1e9, 128),  # as fast, and all is new
        (1.4, 1e9, 128),
        (1.4, 3.2e6, 64),  # 1.9 epochs, then 2.6, then 3.7
        (1.2, 1e6, 32),  # 6 epochs, then 7.2
        (2.0, 2e5, 32),  # 30 epochs, then 60
    ],
)
def test_batches_are_larger_where_that_is_faster_and_the_text_new(
    factor: float, length: float, expected: int
) -> None:
    assert choose_batch_size(USUAL, Machine(1e5, factor, length)) == expected


@given(
    speed=st.floats(1.0, 1e8),
    factor=st.floats(0.5, 2.5),
    length=st.floats(3e5, 1e10),
    usual=st.sampled_from([8, 32, 128, 500]),
)
def test_each_doubling_is_worth_it(speed: float, factor: float, length: float, usual: int) -> None:
    machine = Machine(speed, factor, length)
    chosen = choose_batch_size(usual, machine)
    assert usual <= chosen <= max(usual, MOST)
    assert len(machine.tried) == len(set(machine.tried)) <= 1 + (chosen // usual).bit_length()
    size = usual
    while size < chosen:
        (_, before), (steps, after) = machine(size), machine(2 * size)
        assert steps >= FEWEST_STEPS
        assert after / before >= AS_FAST + FASTER_PER_EPOCH * after
        size *= 2


def test_few_steps_are_not_made_fewer() -> None:
    assert choose_batch_size(USUAL, Machine(2 * FEWEST_STEPS * 2048 / SECONDS, 1.4, 1e9)) == 64


@pytest.mark.parametrize(
    ("settings", "seconds", "expected"),
    [
        ({}, 74.0, True),
        ({}, 20.0, False),
        ({"batch_size": 32}, 74.0, False),
        ({"optimizer": "adamw"}, 74.0, False),
        ({"optimizer": "muon"}, 74.0, True),
    ],
)
def test_what_was_asked_for_stays(settings: dict[str, Any], seconds: float, expected: bool) -> None:
    request, config = TrainRequest(texts=("text",), settings=settings), TrainConfig(**settings)
    assert may_choose_batch_size(request, config, text_of(10**6), seconds) == expected


def test_records_and_short_texts_keep_the_usual_batches() -> None:
    request, config = TrainRequest(texts=("text",)), TrainConfig()
    records = replace(text_of(10**6), starts=np.arange(0, 10**6, 100))
    for text in (records, text_of(LONG_TEXT - 1)):
        assert not may_choose_batch_size(request, config, text, 74.0)
    assert may_choose_batch_size(request, config, text_of(LONG_TEXT), 74.0)


def text_of(length: int) -> Encoded:
    return Encoded(np.zeros(length, np.uint8), length, length)
