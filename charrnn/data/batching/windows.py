"""How a stream is cut into the windows of successive batches."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from charrnn.config.schema import TrainConfig


class Window(NamedTuple):
    """One batch's part of a stream.

    Attributes:
        begin: Its first symbol.
        end: The one after its last.
        carry_at: Steps after which the state is handed to the next window.
        scored_from: First step whose loss counts.
    """

    begin: int
    end: int
    carry_at: int
    scored_from: int = 0


def seq_len_at(step: int, config: TrainConfig) -> int:
    """Return the sequence length of a step (0 is the first).

    With a curriculum (Elman 1993, Bengio et al. 2009) the first half of the steps is cut into equal
    stages, one for each doubling from `seq_len_start` on that is still shorter than `seq_len`; the
    second half has `seq_len`.
    """
    lengths = curriculum(config)
    stage = 2 * step * len(lengths) // config.steps
    return lengths[stage] if stage < len(lengths) else config.seq_len


def curriculum(config: TrainConfig) -> list[int]:
    """Return the lengths that come before `seq_len`, one for each stage of a curriculum."""
    length, lengths = config.seq_len_start or config.seq_len, list[int]()
    while length < config.seq_len:
        lengths.append(length)
        length *= 2
    return lengths


def windows(
    length: int, config: TrainConfig, rng: np.random.Generator, first_step: int = 0
) -> list[Window]:
    """Cut one stream, each target counted once.

    Args:
        length: Of the stream.
        config: `fixed` and `random` tile it; `full` takes it whole; with a stride, windows overlap.
        rng: Draws the random lengths.
        first_step: The run's step that takes the first window: a curriculum depends on it.
    """
    seq_len = length if config.bptt == "full" else min(config.seq_len, length)
    if config.bptt_stride is not None and config.bptt_stride < seq_len:
        return _overlapping(length, seq_len, config.bptt_stride)
    cuts = [0]
    while cuts[-1] < length:
        if config.seq_len_start is not None:
            seq_len = min(seq_len_at(first_step + len(cuts) - 1, config), length)
        random = config.bptt == "random"
        step = int(rng.integers(max(1, seq_len // 2), seq_len * 3 // 2 + 1)) if random else seq_len
        cuts.append(min(cuts[-1] + step, length))
    return [Window(begin, end, end - begin) for begin, end in pairwise(cuts)]


def _overlapping(length: int, seq_len: int, stride: int) -> list[Window]:
    """Cut windows of `seq_len` T2 that begin every `stride` T1 steps: BPTT(T2; T1).

    Each scores what the one before did not (Williams & Peng 1990): the first one everything, the
    following ones their last T1 steps, through which the gradient reaches T2 steps back.
    """
    begins = range(0, max(1, length - seq_len + stride), stride)
    ends = [min(begin + seq_len, length) for begin in begins]
    return [
        Window(begin, end, min(stride, end - begin), seq_len - stride if begin else 0)
        for begin, end in zip(begins, ends, strict=True)
    ]
