"""A part of a text that stands for the whole, for scores that are wanted often."""

from dataclasses import replace

import numpy as np

from charrnn.data.encoding import Encoded

PIECE = 2048  # tokens, of a text without records


def spread(text: Encoded, tokens: int) -> Encoded:
    """Return about `tokens` tokens of a text, at least one record or piece; or all, if fewer.

    They are whole records, or pieces that count as records, at equal distances from each other
    over the whole text. The numbers of characters and bytes are in proportion.
    """
    length = len(text.ids)
    if tokens >= length:
        return text
    if text.starts is None:
        size = min(PIECE, max(1, tokens))
        begins = np.arange(tokens // size, dtype=np.int64) * length // max(1, tokens // size)
        ends = np.minimum(begins + size, length)
    else:
        every = text.starts, np.append(text.starts[1:], length)
        count = max(1, len(text.starts) * tokens // length)
        chosen = np.arange(count, dtype=np.int64) * len(text.starts) // count
        begins, ends = (bounds[chosen] for bounds in every)
    sources = text.sources
    if sources is not None and text.starts is not None:
        sources = sources.select(chosen)
    ids = np.concatenate([text.ids[begin:end] for begin, end in zip(begins, ends, strict=True)])
    starts = np.append(0, np.cumsum(ends - begins)[:-1])
    share = len(ids) / length
    return replace(
        text,
        ids=ids,
        characters=round(text.characters * share),
        bytes=round(text.bytes * share),
        starts=starts,
        sha256="",
        sources=sources,
    )
