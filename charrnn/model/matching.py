"""What followed when the last symbols were read before: the match model of compressors, for torch.

A match of length n at a step is the latest earlier step, of the last `match_window`, at which the
last n symbols were the same; the symbol after it is what n symbols of context predict here. A
network that reads it need not store names and phrases in its state, nor in its weights (as the
match model of Mahoney 2005, "Adaptive Weighing of Context Models", the induction heads of Olsson
et al. 2022, and the n-gram heads of Akyürek et al. 2024, "In-Context Language Learning").

Symbols are numbered as in `charrnn.model.ngram_hash`: a code of 0 is the start symbol and whatever
comes before it, and predicts nothing.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from charrnn.config.model import ModelConfig

FACTOR = 0x1E3779B97F4A7C15  # odd; hashes wrap around in 64 bits


def followers(codes: Tensor, config: ModelConfig) -> Tensor:
    """Return the code that followed the latest match of each length; 0 without a match.

    Args:
        codes: Codes of the symbols, (batch, match_history + time) int64.
        config: The window and the lengths.

    Returns:
        Codes, (batch, time, lengths) int64.
    """
    back = steps_back(codes, config)
    own = torch.arange(config.match_history, codes.shape[1], device=codes.device)[:, None]
    places = (own + 1 - back.clamp(min=1)).flatten(1)
    return codes.gather(1, places).view(back.shape) * (back > 0)


def steps_back(codes: Tensor, config: ModelConfig) -> Tensor:
    """Return how many steps ago the latest match of each length was; 0 without a match.

    Only the steps of the window count, so that the result does not depend on how a text is cut into
    calls.

    Args:
        codes: Codes of the symbols, (batch, match_history + time) int64.
        config: The window and the lengths.

    Returns:
        Steps, (batch, time, lengths) int64, each in 0 .. match_window.
    """
    places = torch.arange(codes.shape[1] - config.match_lengths[-1] + 1, device=codes.device)
    bits, new = len(places).bit_length(), places[config.match_window :]
    found = []
    for hashes in _hashes(codes, config.match_lengths):
        # All steps by their last symbols and then by their place, so that the latest one with the
        # same symbols is just before.
        keys = (hashes[:, -len(places) :] << bits).bitwise_or_(places)
        own = keys[:, config.match_window :].contiguous()
        ranks = torch.searchsorted(ordered := _sorted(keys), own)
        latest = ordered.gather(1, (ranks - 1).clamp(min=0))
        back = new - (latest & ((1 << bits) - 1))
        same = (ranks > 0) & (latest >> bits == own >> bits) & (back <= config.match_window)
        found.append(back * same)
    return torch.stack(found, dim=-1)


def _hashes(codes: Tensor, lengths: tuple[int, ...]) -> Iterator[Tensor]:
    """Yield a hash of the last symbols at each step that has so many, for each length.

    The upper bits, which places take, do not count: two n-grams in 2^40 or so are taken for one.
    """
    hashes, length = codes, 1
    for wanted in lengths:
        while length < wanted:
            more = min(length, wanted - length)  # two n-grams that overlap are a longer one
            factor = pow(FACTOR, length, 1 << 63)
            hashes = (hashes[:, more:] * factor).add_(hashes[:, :-more])
            length += more
        yield hashes


def _sorted(keys: Tensor) -> Tensor:
    """Return each row in ascending order; NumPy is several times faster than torch on a CPU."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return keys.sort(dim=1).values
