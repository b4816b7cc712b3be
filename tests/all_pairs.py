"""Few combinations of settings, of which any two still come together somewhere."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

Choice = dict[str, Any]


def all_pairs(*axes: Sequence[Choice]) -> list[Choice]:
    """Return combinations of one choice from each axis, such that each pair of choices is in one.

    Most mistakes need no more than two settings to come together. The combinations are always the
    same: at each turn the first one, of all that there are, with the most new pairs.
    """
    whole = list(product(*(range(len(axis)) for axis in axes)))
    missing = {pair for chosen in whole for pair in pairs(chosen)}
    found: list[Choice] = []
    while missing:
        best = max(whole, key=lambda chosen: len(missing & pairs(chosen)))
        missing -= pairs(best)
        settings = [axis[index] for axis, index in zip(axes, best, strict=True)]
        found.append({name: value for one in settings for name, value in one.items()})
    return found


def pairs(chosen: Sequence[int]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the pairs of (axis, choice) in a combination."""
    return {(one, other) for one, other in combinations(enumerate(chosen), 2)}


def settings_id(settings: Choice) -> str:
    """Name a combination for pytest."""
    return "-".join(
        name if value is True else f"{name}={value}"
        for name, value in settings.items()
        if value is not False
    )
