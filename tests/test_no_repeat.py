from typing import Any

import numpy as np
import pytest
from fakes import TableModel, random_table, written
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.sampling import SamplingConfig
from charrnn.sampling import no_repeat
from charrnn.sampling.no_repeat import NoRepeat

SYMBOLS = st.lists(st.integers(0, 2), max_size=30)


def forbidden(text: list[int], size: int, window: int) -> set[int]:
    """By definition.

    What would end a sequence of `size` that ended before, within the last `window` symbols.
    """
    found = set()
    for symbol in range(3):
        sequence = [*text, symbol][-size:]
        ends = range(max(size - 1, len(text) - window), len(text))
        if len(sequence) == size and any(
            text[end - size + 1 : end + 1] == sequence for end in ends
        ):
            found.add(symbol)
    return found


@given(SYMBOLS, st.integers(2, 5))
def test_what_is_forbidden_is_the_definition(text: list[int], size: int) -> None:
    memory = NoRepeat(size, text, 1)
    removed = set(np.flatnonzero(memory.forbid(np.zeros((1, 4)))[0] == -np.inf).tolist())
    assert removed == forbidden(text, size, no_repeat.WINDOW)


@given(SYMBOLS, st.integers(2, 5), st.integers(5, 9))
def test_what_lies_behind_the_window_is_forgotten(text: list[int], size: int, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(no_repeat, "WINDOW", window)
        memory = NoRepeat(size, (), 2)
        for symbol in text:
            memory.append(np.array([symbol, 0]))
        removed = set(np.flatnonzero(memory.forbid(np.zeros((2, 4)))[0] == -np.inf).tolist())
    assert removed == forbidden(text, size, window)


def test_streams_do_not_see_each_other_and_can_be_followed_apart() -> None:
    memory = NoRepeat(2, [0, 1], 2)
    memory.append(np.array([0, 2]))
    assert (memory.forbid(np.zeros((2, 3))) == -np.inf).tolist() == [
        [False, True, False],
        [False] * 3,
    ]
    chosen = memory.select(np.array([1, 0, 0]))
    assert (chosen.forbid(np.zeros((3, 3))) == -np.inf)[:, 1].tolist() == [False, True, True]
    chosen.append(np.array([0, 0, 0]))
    assert (memory.forbid(np.zeros((2, 3))) == -np.inf).tolist() == [
        [False, True, False],
        [False] * 3,
    ]


def test_where_nothing_else_is_left_it_gives_way() -> None:
    memory = NoRepeat(2, [0, 0], 1)
    logits = np.array([[1.0, -np.inf]])
    np.testing.assert_array_equal(memory.forbid(logits), logits)
    assert logits.tolist() == [[1.0, -np.inf]]


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_text_has_no_sequence_twice_that_could_be_avoided(size: int, temperature: float) -> None:
    model: Any = random_table()
    length = {2: 20, 3: 100, 6: 300}[size]
    config = SamplingConfig(length=length, temperature=temperature, no_repeat=size)
    text = "ab" + written(model, "ab", config)
    sequences = [text[start : start + size] for start in range(len(text) - size + 1)]
    assert len(set(sequences)) == len(sequences)


def test_a_loop_is_broken_and_other_text_left_alone() -> None:
    table = np.eye(8, 7, k=1) * 4 + np.linspace(0, 1, 7)
    table[6, 1] = 9
    looping: Any = TableModel(table)
    plain = written(looping, "a", SamplingConfig(length=30, temperature=0))
    broken = written(looping, "a", SamplingConfig(length=30, temperature=0, no_repeat=9))
    assert plain == ("bcdefa" * 5)
    assert broken[:14] != plain[:14]
    assert broken[:13] == plain[:13], "until the first sequence of 9 would come twice"
