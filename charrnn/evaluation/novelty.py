"""How much of a text is copied from the training text.

The result is exact. A suffix array of both texts (Manber and Myers 1993) gives the longest passage
that starts at each position of one text and also occurs in the other. The time is that of about
log2(longest passage) sorts of the characters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.data.text import OnProgress, no_progress

Lengths = npt.NDArray[np.int64]
SIZES = (5, 10, 20, 50)  # characters
PART = 1 << 20  # characters of the training text that are sorted at once, which bounds the memory


@dataclass(frozen=True)
class Copied:
    """How much of a text occurs in the training text.

    Attributes:
        characters: Length of the text.
        passage: The longest passage that also occurs in the training text; the first of several.
        shares: For each length in `SIZES`, the fraction of the text's substrings that occur in the
            training text, 0 to 1; None if the text is shorter than that.
    """

    characters: int
    passage: str
    shares: dict[int, float | None]


def copied(text: str, training: str, on_progress: OnProgress = no_progress) -> Copied:
    """Return how much of `text` occurs in `training`."""
    lengths = matches(text, training, on_progress)
    start = int(lengths.argmax()) if text else 0
    shares = {size: copied_fraction(lengths, size) for size in SIZES}
    return Copied(len(text), text[start : start + int(lengths[start])] if text else "", shares)


def copied_fraction(lengths: Lengths, size: int) -> float | None:
    """Return the fraction of the substrings of `size` characters that match in full."""
    substrings = lengths[: max(0, len(lengths) - size + 1)]
    return float((substrings >= size).mean()) if len(substrings) else None


def matches(text: str, training: str, on_progress: OnProgress = no_progress) -> Lengths:
    """Return the length of the longest match in `training` for each position in `text`.

    A match is a passage that starts at the position and occurs in `training`.
    """
    lengths, done = np.zeros(len(text), np.int64), 0
    on_progress("Comparing with the training text", done, len(training))
    for part in overlapping_parts(training, len(text)):
        np.maximum(lengths, _matches(text, part), out=lengths)
        done = min(len(training), done + len(part))
        on_progress("Comparing with the training text", done, len(training))
    return lengths


def overlapping_parts(training: str, overlap: int) -> Iterator[str]:
    """Yield parts of `training`; each passage of at most `overlap` characters is within one."""
    size = max(PART, 4 * overlap)
    for start in range(0, max(1, len(training) - overlap), size):
        yield training[start : start + size + overlap]


def _matches(text: str, training: str) -> Lengths:
    ranks = _ranks(code_points(training), code_points(text))
    order = np.argsort(ranks[-1], kind="stable")
    is_training = order < len(training)
    positions = np.arange(len(order))
    # For each suffix of the text, the nearest suffixes of the training text before and after it, in
    # sorted order.
    before = np.maximum.accumulate(np.where(is_training, positions, -1))
    after = np.minimum.accumulate(np.where(is_training, positions, len(order))[::-1])[::-1]
    lengths = np.zeros(len(text), np.int64)
    ours = np.flatnonzero((order > len(training)) & (order < len(order) - 1))
    for neighbours in (before[ours], after[ours]):
        there = (neighbours >= 0) & (neighbours < len(order))
        found, suffixes = order[neighbours[there]], order[ours[there]]
        mine = suffixes - len(training) - 1
        lengths[mine] = np.maximum(lengths[mine], _common_length(ranks, found, suffixes))
    return lengths


def _ranks(training: Lengths, text: Lengths) -> list[Lengths]:
    """Return the ranks of all substrings of 1, 2, 4, ... characters of both texts together.

    Ranks are equal exactly where the substrings are. Each text is followed by a character that
    occurs nowhere else, so that no match runs past an end.
    """
    joined = np.concatenate([training + 2, [0], text + 2, [1]])
    ranks = [np.unique(joined, return_inverse=True)[1].astype(np.int64)]
    size = 1
    while size <= len(text) and ranks[-1].max() + 1 < len(joined):
        following = np.zeros(len(joined), np.int64)
        following[:-size] = ranks[-1][size:] + 1
        keys = ranks[-1] * (len(joined) + 1) + following
        order = np.argsort(keys)
        ordered = keys[order]
        new = np.empty(len(joined), np.int64)
        new[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
        ranks.append(new)
        size *= 2
    return ranks


def _common_length(ranks: list[Lengths], first: Lengths, second: Lengths) -> Lengths:
    """Return the lengths of the common prefixes of the suffixes at `first` and at `second`.

    A length is found as a sum of powers of two, the largest first.
    """
    length = np.zeros(len(first), np.int64)
    end = len(ranks[0]) - 1  # the last character, which is unique, stands for all positions past it
    for power in range(len(ranks) - 1, -1, -1):
        here, there = np.minimum(first + length, end), np.minimum(second + length, end)
        length += (ranks[power][here] == ranks[power][there]) * (1 << power)
    return length


def code_points(text: str) -> Lengths:
    """Return the code points of `text`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
