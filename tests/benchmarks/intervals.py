"""How often the 95 % interval of a part of a real text holds the score of the whole text.

    python tests/benchmarks/intervals.py --texts wikitext-2-test.txt shakespeare.txt

Each text is scored by the 5-gram, trained on its first tenth or on --train, or by a model with
--model, whose score needs no training text. Parts of several lengths, evenly spaced, each have an
interval by the method that charrnn uses; beside it stand the block bootstrap over 1,000 tokens and
blocks of the length that the rule of Politis and White (2004) chooses, both of which were tried.
Parts overlap where there are more than fit side by side, so that a text gives no more independent
parts than its length allows: their number stands in the table.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bench import machine

from charrnn import load
from charrnn.evaluation.baselines import Alphabet, ngram_nats
from charrnn.evaluation.interval import MIN_CHARACTERS, half_width, student_t
from charrnn.evaluation.score import PIECE, ScoringProtocol
from charrnn.evaluation.scoring import token_nats

Series = npt.NDArray[np.float64]
LENGTHS = (10_000, 50_000, 112_000, MIN_CHARACTERS, 2 * MIN_CHARACTERS)
PARTS = 125


def autocovariance(series: Series) -> Series:
    """Return the autocovariances at all lags."""
    size = len(series)
    spectrum = np.fft.rfft(series - series.mean(), 2 * size)
    found: Series = np.fft.irfft(spectrum * np.conj(spectrum))[:size] / size
    return found


def politis_white(series: Series) -> float:
    """Return the block length for the circular bootstrap (Politis and White 2004, with the
    correction of Patton, Politis and White 2009), without the usual upper limits.
    """
    size, covariance = len(series), autocovariance(series)
    window, limit = max(5, int(math.log10(size) ** 0.5)), 2 * (math.log10(size) / size) ** 0.5
    small = np.abs(covariance[1:] / covariance[0]) < limit
    runs = (lag for lag in range(size - window - 1) if small[lag : lag + window].all())
    width = min(2 * max(1, next(runs, size // 2)), size - 1)
    lags = np.arange(-width, width + 1)
    weights = np.clip(2 * (1 - np.abs(lags) / width), 0, 1) * covariance[np.abs(lags)]
    level = weights.sum()
    slope = (weights * np.abs(lags)).sum()
    best = (1.5 * (slope / level) ** 2) ** (1 / 3) * size ** (1 / 3) if level > 0 else size
    return float(min(size, max(1.0, best)))


def by_blocks(series: Series, block: float) -> float:
    """Return half the width of the interval from overlapping blocks, bent into a circle."""
    size, length = len(series), max(1, round(block))
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([series, series[: length - 1]]))])
    means = (sums[length:] - sums[:-length]) / length
    count = max(2.0, size / length)
    return student_t(math.ceil(count) - 1) * math.sqrt(means.var() / (count - 1))


METHODS: dict[str, Callable[[Series], float]] = {
    "charrnn's": lambda series: half_width(series - series.mean()),
    "blocks of 1,000": lambda series: by_blocks(series, 10),
    "Politis and White": lambda series: by_blocks(series, politis_white(series)),
}


def losses_of(path: Path, train: Path | None, model: str | None) -> Series:
    """Return the nats of a text's characters."""
    text = path.read_bytes().decode()
    if model is not None:
        scorer, encoded = load(model).scorer(), load(model).encode(text)
        nats = np.zeros(len(encoded.ids))
        for places, values in token_nats(scorer.network, encoded, ScoringProtocol.carried()):
            nats[places] = values
        return nats
    known = train.read_bytes().decode() if train else text[: len(text) // 10]
    scored = text if train else text[len(text) // 10 :]
    alphabet = Alphabet.of(known)
    return ngram_nats(alphabet.encode(known), alphabet.encode(scored), alphabet.size)


def rows(name: str, nats: Series) -> Iterator[str]:
    """Yield a line of the table for each length of parts."""
    pieces = nats[: len(nats) // PIECE * PIECE].reshape(-1, PIECE).mean(axis=1)
    for length in LENGTHS:
        count = length // PIECE
        if 2 * count > len(pieces):
            continue
        begins = np.linspace(0, len(pieces) - count, PARTS).astype(int)
        parts = [pieces[begin : begin + count] for begin in begins]
        cells = [
            f"{np.mean([abs(one.mean() - pieces.mean()) <= width(one) for one in parts]):.0%}"
            for width in METHODS.values()
        ]
        cells[0] += "" if length >= MIN_CHARACTERS else " (not shown)"
        yield f"| {name} | {length:,} | {len(pieces) // count} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--train", type=Path, help="a text for the 5-gram to learn from")
    parser.add_argument("--model", help="score with this model")
    args = parser.parse_args()
    print(f"{machine()}\n\n| text | characters of a part | side by side | {' | '.join(METHODS)} |")
    print("|---" * (3 + len(METHODS)) + "|")
    for path in args.texts:
        for row in rows(path.stem, losses_of(path, args.train, args.model)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
