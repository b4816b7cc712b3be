"""Windows of successive batches, into which a stream is cut."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from charrnn.config.training import TrainConfig


class Window(NamedTuple):
    """One batch's part of a stream.

    Attributes:
        begin: Position of its first symbol.
        end: Position after its last symbol.
        carry_at: Time steps after which the state is carried to the next window.
        scored_from: First time step whose loss counts.
    """

    begin: int
    end: int
    carry_at: int
    scored_from: int = 0


def seq_len_at(step: int, config: TrainConfig) -> int:
    """Return the sequence length of an optimizer step, counted from 0.

    With a curriculum (Elman 1993, Bengio et al. 2009), the first half of the steps is divided into
    equal stages. The lengths start at `seq_len_start` and double from stage to stage while they are
    below `seq_len`, which is the length of the second half.
    """
    lengths = curriculum(config)
    stage = 2 * step * len(lengths) // max(1, config.steps)
    return lengths[stage] if stage < len(lengths) else config.seq_len


def curriculum(config: TrainConfig) -> list[int]:
    """Return the sequence length of each stage of a curriculum, without the final `seq_len`."""
    length, lengths = config.seq_len_start or config.seq_len, list[int]()
    while length < config.seq_len:
        lengths.append(length)
        length *= 2
    return lengths


def windows(
    length: int, config: TrainConfig, rng: np.random.Generator, first_step: int = 0
) -> list[Window]:
    """Return the windows of one stream; the loss of each target counts once.

    Args:
        length: Length of the stream.
        config: With `bptt` fixed or random, windows tile the stream; with full, there is one; with
            `bptt_stride`, they overlap.
        rng: Draws the random lengths.
        first_step: Step of the run that takes the first window, on which a curriculum depends.
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
    """Return overlapping windows, for BPTT(T2; T1) with T2 = `seq_len` and T1 = `stride`.

    Windows of T2 time steps begin every T1 time steps (Williams & Peng 1990). The loss counts in
    the whole first window and in the last T1 time steps of the others, from which gradients reach
    up to T2 time steps back.
    """
    begins = range(0, max(1, length - seq_len + stride), stride)
    ends = [min(begin + seq_len, length) for begin in begins]
    return [
        Window(begin, end, min(stride, end - begin), seq_len - stride if begin else 0)
        for begin, end in zip(begins, ends, strict=True)
    ]
