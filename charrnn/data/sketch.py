"""A sketch of a text: hashes of some of its passages, by which parts and near copies are noticed.

Every passage of about `PASSAGE` characters has a hash. Those are sampled that begin with eight
symbols whose own hash is divisible by a number (Schleimer, Wilkerson and Aiken 2003), so that the
same passages are sampled in another text, wherever they stand there; of these, the smallest hashes
are kept (Broder 1997). The share of another text's sampled passages that are in the sketch
estimates how much of it stands in the first.
"""

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charrnn.tokenizers.base import Ids

Hashes = npt.NDArray[np.uint64]
# Returns the ids of a text in blocks; each also has, at its end, that many of the next one.
Blocks = Callable[[int], Iterable[Ids]]
PASSAGE = 50  # characters; shorter passages occur in many texts
SIZE = 4096  # hashes that are kept
BEGINNING = 8  # symbols at the beginning of a passage that decide whether it is sampled
MIN_EVERY = 16
MAX_WINDOW = 1 << 16
BASE, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of SplitMix64


@dataclass(frozen=True)
class Sketch:
    """A sketch of a text.

    Attributes:
        window: Symbols in a passage.
        every: About one in so many passages is sampled.
        bound: The largest hash that may be in the sketch.
        hashes: Hashes of sampled passages up to `bound`, ascending.
    """

    window: int
    every: int
    bound: int
    hashes: Hashes

    @classmethod
    def of(cls, blocks: Blocks, length: int, characters: int) -> Self:
        """Return the sketch of a text.

        Args:
            blocks: The text; see `Blocks`.
            length: Symbols of the text.
            characters: Characters of the text.
        """
        window = min(MAX_WINDOW, max(BEGINNING, round(PASSAGE * length / max(1, characters))))
        every = max(MIN_EVERY, 1 << math.ceil(math.log2(max(1, length / SIZE))))
        kept, bound = np.zeros(0, np.uint64), (1 << 64) - 1
        for hashes in sampled(blocks(window - 1), window, every):
            kept = np.union1d(kept, hashes)
            if len(kept) > SIZE:
                kept = kept[:SIZE]
                bound = int(kept[-1])
        return cls(window, every, bound, kept)

    def share(self, blocks: Blocks) -> float | None:
        """Return about which fraction of the passages of a text are in the sketch's text.

        None if the text is too short to tell.
        """
        count = found = 0
        for hashes in sampled(blocks(self.window - 1), self.window, self.every):
            within = hashes[hashes <= np.uint64(self.bound)]
            count += len(within)
            found += int(np.isin(within, self.hashes).sum())
        return found / count if count else None

    def to_dict(self) -> dict[str, Any]:
        """Return the sketch as JSON values."""
        text = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode()
        return {"window": self.window, "every": self.every, "bound": self.bound, "hashes": text}

    @classmethod
    def from_dict(cls, values: Any) -> Self | None:
        """Rebuild what `to_dict` returned; None if there is no sketch that could be used."""
        if not isinstance(values, Mapping):
            return None
        numbers = [values.get(name) for name in ("window", "every", "bound")]
        if not all(type(one) is int and 1 <= one < 1 << 64 for one in numbers):
            return None
        window, every, bound = (int(str(one)) for one in numbers)
        try:
            hashes = np.frombuffer(base64.b64decode(values["hashes"], validate=True), "<u8")
        except (KeyError, TypeError, ValueError, binascii.Error):
            return None
        return cls(window, every, bound, hashes.astype(np.uint64)) if window <= MAX_WINDOW else None


def sampled(blocks: Iterable[Ids], window: int, every: int) -> Iterator[Hashes]:
    """Yield the hashes of the sampled passages of a text, in its order.

    Args:
        blocks: The text in blocks that overlap by `window` - 1 symbols.
        window: Symbols in a passage.
        every: About one in so many passages is sampled.
    """
    powers = np.cumprod(np.full(window, BASE, np.uint64))
    for block in blocks:
        symbols = mixed(block.astype(np.uint64) + np.uint64(BASE))
        beginnings, size = symbols, 1
        while size < BEGINNING:
            beginnings = beginnings[:-size] * np.uint64(FIRST) + beginnings[size:]
            size *= 2
        passages = max(0, len(block) - window + 1)
        places = np.flatnonzero(mixed(beginnings[:passages]) % np.uint64(every) == 0)
        if len(places):
            yield mixed((symbols[places[:, None] + np.arange(window)] * powers).sum(axis=1))


def mixed(values: Hashes) -> Hashes:
    """Return hashes of numbers: the last steps of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(SECOND)
    return values ^ (values >> np.uint64(31))
