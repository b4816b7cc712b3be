"""What the tests have survived, to be told at their end."""

from collections import Counter
from collections.abc import Callable

import pytest

COUNTED = (
    "kills survived",
    "power losses survived",
    "I/O calls failed",
    "bytes cut",
    "bits flipped",
    "files damaged in other ways",
    "files fuzzed",
    "sidecars damaged",
    "whole files read while being replaced",
    "bad inputs tried",
)
COUNTS = pytest.StashKey[Counter[str]]()

Amount = Callable[[int, int], int]
