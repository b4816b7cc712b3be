"""Whether a model forgets what lies before the warm-up, so that segments can be scored at once.

Segments of the carried protocol read some tokens before they are scored, as if the model had read
the whole text up to there. That is so for models that forget. It is therefore measured for each
text, at the beginnings of a few segments, beside a serial pass. Where the difference is too large,
the text is scored serially.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from charrnn.data.encoding import Encoded
from charrnn.evaluation.score import Nats, ScoringProtocol
from charrnn.evaluation.scoring import Segments, nats_of, predictions
from charrnn.model.blended_network import Network
from charrnn.runtime.distributed import ALONE, ProcessGroup
from charrnn.tokenizers.base import Ids

MAX_DIFFERENCE = 0.0005  # nats per token
BOUNDARIES = 2  # segments whose beginnings are scored twice
COMPARED = 512  # tokens of each


def settled(
    model: Network, text: Encoded, protocol: ScoringProtocol, group: ProcessGroup = ALONE
) -> ScoringProtocol:
    """Return the protocol by which a text is scored: `protocol`, with a warm-up that suffices.

    Only `ScoringProtocol.carried()` changes: its warm-up is at least the attention's span, and it
    becomes the serial pass for a model that remembers more.

    Args:
        model: The model.
        text: The text.
        protocol: The protocol that was asked for.
        group: The processes that score together; all call this, and get the same answer.
    """
    if protocol != ScoringProtocol.carried() or protocol.segment is None:
        return protocol
    chosen = replace(protocol, warmup=max(protocol.warmup, model.attention_span))
    stride, length = max(protocol.segment, 2 * chosen.warmup), len(text.ids)
    begins = range(stride, min(length, BOUNDARIES * stride + 1), stride)
    if length > protocol.segment:
        far = not begins or warm_up_difference(model, text.ids, chosen.warmup, begins)
        if far > MAX_DIFFERENCE:
            chosen = ScoringProtocol.exact()
    return group.broadcast(chosen)


def warm_up_difference(model: Network, ids: Ids, warmup: int, begins: Sequence[int]) -> float:
    """Return how far losses after a warm-up are from those of a serial pass.

    Args:
        model: The model, which runs in float32.
        ids: The text.
        warmup: Tokens that are read before each place.
        begins: The places, ascending; up to `COMPARED` tokens are scored from each on.

    Returns:
        The absolute difference of the means, in nats per token.
    """
    begin = np.array(begins)[:, None]
    end = np.minimum(begin + COMPARED, len(ids))
    warm = _losses(model, ids, Segments(begin - warmup, begin, end, remembers=True))
    start = np.zeros((1, 1), np.int64)
    serial = _losses(model, ids, Segments(start, start, end[-1:]))
    compared = np.concatenate([np.arange(*row) for row in np.hstack([begin, end])])
    return float(abs((warm[compared] - serial[compared]).mean()))


def _losses(model: Network, ids: Ids, segments: Segments) -> Nats:
    """Return the losses of segments, at their positions in the text; 0 elsewhere."""
    nats = np.zeros(int(segments.end.max()))
    for positions, losses in nats_of(predictions(model, ids, [segments])):
        nats[positions] = losses
    return nats
