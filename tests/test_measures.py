"""Measures of texts against references, counted one edit at a time."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.evaluation.measures import TextMeasures

WORDS = st.text("ab \u00e9\U0001f600", min_size=1, max_size=8)


def edits(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the fewest edits, by trying each at each place."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return len(one) - i + len(other) - j
        if one[i] == other[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_error_rates_are_edits_to_the_closest_reference(
    found: list[tuple[str, list[str]]],
) -> None:
    measures = TextMeasures.of(found)
    for rate, cut in ((measures.character_error_rate, list), (measures.word_error_rate, str.split)):
        distance = length = 0
        for text, references in found:
            cuts = [cut(one) for one in references]
            fewest = min(edits(cut(text), one) for one in cuts)
            distance += fewest
            length += max(len(one) for one in cuts if edits(cut(text), one) == fewest)
        assert rate == pytest.approx(distance / max(1, length))
    assert measures.exact == sum(text in all_of for text, all_of in found) / len(found)
