"""A text divided into what trains and what validates, before anything is learned from it.

`charrnn.data.records` divides a text of records.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

from charrnn.errors import TextError, UsageError

MAX_VALID_FRACTION = 0.9


def training_part(characters: int, valid_fraction: float) -> int:
    """Return how many characters of a text train.

    What validates is its end, rounded up to a whole character.

    Raises:
        UsageError: `valid_fraction` is not in (0, 0.9].
        TextError: A part would have fewer than two characters, so there would be nothing to predict
            in it.
    """
    share = exact_share(valid_fraction)
    n_train = math.floor(characters * (1 - share))
    if min(n_train, characters - n_train) < 2:
        needed = max(math.floor(1 / share) + 1, math.ceil(2 / (1 - share)))
        need = f"at least {needed} are needed for --valid-fraction {valid_fraction}"
        raise TextError(
            f"The text has {characters} characters; {need}.",
            "Give more text, another --valid-fraction, or a text of its own for validation with --valid.",
        )
    return n_train


def exact_share(valid_fraction: float) -> Fraction:
    """Return the share of a text that validates, without rounding.

    In floats, (1 - 0.9) * 10 is less than 1.

    Raises:
        UsageError: It is not in (0, 0.9].
    """
    if not 0 < valid_fraction <= MAX_VALID_FRACTION:
        raise UsageError(
            f"--valid-fraction must be above 0 and at most {MAX_VALID_FRACTION}, not {valid_fraction}."
        )
    return Fraction(str(valid_fraction))


def cut(chunks: Iterable[str], length: int) -> tuple[Iterator[str], Iterator[str]]:
    """Divide a text after `length` characters, reading it once.

    The second part begins by reading the first to its end.

    The text must be at least that long.
    """
    rest, over = iter(chunks), [""]

    def first() -> Iterator[str]:
        missing = length
        while missing:
            chunk = next(rest)
            over[0], chunk = chunk[missing:], chunk[:missing]
            missing -= len(chunk)
            yield chunk

    def second() -> Iterator[str]:
        for _ in before:
            pass
        if over[0]:
            yield over[0]
        yield from rest

    before = first()
    return before, second()
