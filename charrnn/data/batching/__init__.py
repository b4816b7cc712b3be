"""Cutting a text into batches, for truncated backpropagation through time.

`sequential`: the text becomes `batch_size` parallel streams, and each batch takes the next `seq_len`
symbols of every stream. Row i of a batch continues row i of the batch before, so the state is carried
and the model learns from context that is longer than a gradient reaches. With batch_size 3, seq_len 4
and the text a b c ... x:

    stream 0   a b c d | e f g h         batch 0  a b c d   batch 1  e f g h   inputs are the same, one
    stream 1   i j k l | m n o p                  i j k l            m n o p   symbol earlier: the first
    stream 2   q r s t | u v w x                  q r s t            u v w x   is the start symbol

    state:     zeros -> batch 0 -> detached -> batch 1 -> ... until the epoch ends; the next one cuts
               elsewhere

`random`: each row is a window from a random place, and the state starts at zero in every batch.

A text that consists of records is cut into these instead; `records.py` has a picture.

All are functions of (seed, position): a position is all that a resumed run needs to see the same
batches again.
"""

import numpy as np
import numpy.typing as npt

from charrnn.config.schema import TrainConfig
from charrnn.data.batching.base import Batcher
from charrnn.data.batching.random import RandomBatcher
from charrnn.data.batching.records import RecordBatcher
from charrnn.data.batching.sequential import SequentialBatcher
from charrnn.errors import TextError
from charrnn.tokenizers.base import Ids

BATCHERS: dict[str, type[SequentialBatcher] | type[RandomBatcher]] = {
    "sequential": SequentialBatcher,
    "random": RandomBatcher,
}


def make_batcher(
    ids: Ids, config: TrainConfig, start: int, starts: npt.NDArray[np.int64] | None = None
) -> Batcher:
    """Return the batcher that `config` names, or that of records if the text consists of them.

    Args:
        ids: The text.
        config: How to cut it.
        start: The start symbol.
        starts: Where each record begins in `ids`, ascending from 0.

    Raises:
        TextError: The text has fewer than two symbols.
    """
    if len(ids) < 2:
        raise TextError(f"The training text has {len(ids)} symbols; at least 2 are needed.")
    if starts is not None:
        return RecordBatcher(ids, starts, config, start)
    return BATCHERS[config.batcher](ids, config, start)
