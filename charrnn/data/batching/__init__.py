"""Cutting a text into batches, for truncated backpropagation through time.

`sequential`: the text is cut into `batch_size` parallel streams, and each batch takes the next
`seq_len` symbols of every stream. Row i of a batch continues row i of the batch before, so the
state is carried, and the model learns from context beyond the reach of gradients. With batch_size
3, seq_len 4 and the text a b c ... x, the targets are:

    stream 0   a b c d | e f g h          batch 0   a b c d          batch 1   e f g h
    stream 1   i j k l | m n o p                    i j k l                    m n o p
    stream 2   q r s t | u v w x                    q r s t                    u v w x

    state      zeros -> batch 0 -> detached -> batch 1 -> ... until the end of the epoch

The inputs are the symbols before the targets; the first input is the start symbol. The next epoch
cuts the text at other positions.

`random`: each row is a window at a random position, and the state is zero at the start of every
batch.

A text of records is batched by records instead; see `charrnn.data.batching.records`. Records with
sources are batched as whole pairs; see `charrnn.data.batching.pairs`.

Batches are a function of the seed and a position, so a resumed run needs only the position.
"""

import numpy as np
import numpy.typing as npt

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batcher
from charrnn.data.batching.pairs import PairBatcher
from charrnn.data.batching.random import RandomBatcher
from charrnn.data.batching.records import RecordBatcher
from charrnn.data.batching.sequential import SequentialBatcher
from charrnn.data.sources import Sources
from charrnn.errors import TextError, counted
from charrnn.tokenizers.base import Ids

BATCHERS: dict[str, type[SequentialBatcher] | type[RandomBatcher]] = {
    "sequential": SequentialBatcher,
    "random": RandomBatcher,
}


def make_batcher(
    ids: Ids,
    config: TrainConfig,
    start: int,
    starts: npt.NDArray[np.int64] | None = None,
    sources: Sources | None = None,
) -> Batcher:
    """Return the batcher that `config` names, or that of records if the text consists of them.

    Args:
        ids: The text.
        config: How to cut it.
        start: The start symbol.
        starts: Where each record begins in `ids`, ascending from 0.
        sources: The records' sources, if they have any.

    Raises:
        TextError: The text has fewer than two symbols.
    """
    if len(ids) < 2:
        length = counted(len(ids), "symbol")
        raise TextError(f"The training text has {length}; at least 2 are needed.")
    if starts is not None and sources is not None:
        return PairBatcher(ids, starts, sources, config, start)
    if starts is not None:
        return RecordBatcher(ids, starts, config, start)
    return BATCHERS[config.batcher](ids, config, start)
