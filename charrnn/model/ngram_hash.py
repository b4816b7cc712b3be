"""Which rows of the n-gram tables belong to the symbols just read; for torch and NumPy alike.

The n-gram of order n at a step is the last n symbols up to that step. All n-grams of an order share
a table of `ngram_rows` rows: a hash of the symbols gives the row (Clark et al. 2022, "CANINE",
section 3.1; Pagnoni et al. 2024, "Byte Latent Transformer", section 3.2.1). The arithmetic is that
of unsigned integers of 32 bits, which any language has.

A symbol's code is its id plus 1. That of the start symbol is 0, and so is that of what comes before
the first symbol: the same, whatever the size of the vocabulary.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from charrnn.config.model import ModelConfig

Integers = TypeVar("Integers")  # int64, of torch or NumPy

BITS = (1 << 32) - 1
FACTOR = 0x9E3779B1  # odd, 2^32 divided by the golden ratio; its powers multiply the codes
MIXER = 0x2C1B3C6D  # odd and below 2^31, so that products fit 63 bits


def ngram_rows(codes: Integers, config: ModelConfig) -> Iterator[Integers]:
    """Yield the rows of each order, from 2 up.

    Args:
        codes: Codes of the symbols, (batch, highest order - 1 + time) int64: those that came before
            the first step, and those of the steps.
        config: The orders and the rows of a table.

    Yields:
        For each order the rows, (batch, time) int64, counted through all tables.
    """
    before = config.ngram_embedding - 1
    factor, total = 1, 0  # type: int, Any  # the sum stays below 2^58
    for back in range(config.ngram_embedding):
        end = codes.shape[1] - back  # type: ignore[attr-defined]
        total = total + codes[:, before - back : end] * factor  # type: ignore[index]
        factor = factor * FACTOR & BITS
        if back:
            yield _mixed(total) % config.ngram_rows + (back - 1) * config.ngram_rows


def _mixed(values: Any) -> Any:
    """Let each of the lower 32 bits depend on all of them."""
    values = values & BITS
    values = (values ^ values >> 15) * MIXER & BITS
    return values ^ values >> 13
