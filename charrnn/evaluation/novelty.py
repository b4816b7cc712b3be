"""Does a model write or recite? How much of a text stands, word for word, in the text that the model learned from.

Exact, by a suffix array of both texts (Manber and Myers 1993): of each place in a text it gives the
longest passage that begins there and also stands in the other. Time is that of about log2(longest
passage) sorts of the characters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.int64]
SIZES = (5, 10, 20, 50)  # characters
PART = 1 << 20  # characters of the training text that are sorted at once, which bounds memory


@dataclass(frozen=True)
class Copied:
    """How much of a text stands in another.

    Attributes:
        characters: The text's length.
        passage: The longest passage that stands in the other; of several, the first in this one.
        shares: For each of `SIZES`, the share of the text's substrings of that length that stand in
            the other, 0 to 1; None where the text is shorter.
    """

    characters: int
    passage: str
    shares: dict[int, float | None]


def copied(text: str, training: str) -> Copied:
    """Say how much of `text` stands in `training`."""
    lengths = matches(text, training)
    start = int(lengths.argmax()) if text else 0
    shares = {size: share(lengths, size) for size in SIZES}
    return Copied(len(text), text[start : start + int(lengths[start])] if text else "", shares)


def share(lengths: Lengths, size: int) -> float | None:
    """Return the share of the substrings of `size` characters whose match is as long as that."""
    substrings = lengths[: max(0, len(lengths) - size + 1)]
    return float((substrings >= size).mean()) if len(substrings) else None


def matches(text: str, training: str) -> Lengths:
    """Return for each place in `text` the length of the longest passage from there on that stands in `training`."""
    lengths = np.zeros(len(text), np.int64)
    for part in parts(training, len(text)):
        np.maximum(lengths, _matches(text, part), out=lengths)
    return lengths


def parts(training: str, overlap: int) -> Iterator[str]:
    """Cut `training` such that every passage of up to `overlap` characters is whole in some part."""
    size = max(PART, 4 * overlap)
    for start in range(0, max(1, len(training) - overlap), size):
        yield training[start : start + size + overlap]


def _matches(text: str, training: str) -> Lengths:
    ranks = _ranks(code_points(training), code_points(text))
    order = np.argsort(ranks[-1], kind="stable")
    is_training = order < len(training)
    places = np.arange(len(order))
    # For each suffix of the text the nearest of the training text before and after it, in the order
    # of suffixes.
    before = np.maximum.accumulate(np.where(is_training, places, -1))
    after = np.minimum.accumulate(np.where(is_training, places, len(order))[::-1])[::-1]
    lengths = np.zeros(len(text), np.int64)
    ours = np.flatnonzero((order > len(training)) & (order < len(order) - 1))
    for neighbours in (before[ours], after[ours]):
        there = (neighbours >= 0) & (neighbours < len(order))
        found, suffixes = order[neighbours[there]], order[ours[there]]
        mine = suffixes - len(training) - 1
        lengths[mine] = np.maximum(lengths[mine], _common(ranks, found, suffixes))
    return lengths


def _ranks(training: Lengths, text: Lengths) -> list[Lengths]:
    """Return the ranks of all substrings of 1, 2, 4, .

    Characters: equal exactly where the substrings are equal.

    The texts stand one after the other, each with a character of its own behind it, so that no
    match runs past an end.
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


def _common(ranks: list[Lengths], first: Lengths, second: Lengths) -> Lengths:
    """Return how many characters the suffixes at `first` and `second` have in common, from the powers of two in it."""
    length = np.zeros(len(first), np.int64)
    end = (
        len(ranks[0]) - 1
    )  # the last character, which is like no other, stands for all places behind it
    for power in range(len(ranks) - 1, -1, -1):
        here, there = np.minimum(first + length, end), np.minimum(second + length, end)
        length += (ranks[power][here] == ranks[power][there]) * (1 << power)
    return length


def code_points(text: str) -> Lengths:
    """Return the code points of `text`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
