"""What followed when the last symbols were read before, in an ONNX graph.

See `charrnn.model.matching`.
"""

import numpy as np
from onnx import TensorProto

from charrnn.config.model import ModelConfig
from charrnn.export.onnx_values import Integers, Value


def followers(codes: Value, config: ModelConfig) -> Value:
    """Return the code that followed the latest match of each length; 0 without a match.

    Every step of the window is compared with the current one, by one more symbol each time.

    Args:
        codes: Codes of the symbols, (batch, match_history + 1) int64.
        config: The window and the lengths.

    Returns:
        Codes, (batch, lengths) int64.
    """
    graph, end, longest = codes.graph, config.match_history, config.match_lengths[-1]
    text, same, found = Integers(codes, end + 1), None, []
    for back in range(longest):
        last = end - back
        earlier, now = text[:, longest - 1 - back : last], text[:, last : last + 1]
        equal = graph.add("Equal", earlier.value, now.value)
        same = equal if same is None else graph.add("And", same, equal)
        if back + 1 in config.match_lengths:
            found.append(_after_latest(text, same, config))
    return graph.add("Concat", *found, axis=1)


def _after_latest(text: Integers, same: Value, config: ModelConfig) -> Value:
    """Return the code after the latest step that is the same, (batch, 1); 0 if none is.

    Args:
        text: Codes of the symbols.
        same: Whether each step's last symbols are the current ones, (batch, match_window).
        config: The window and the lengths.
    """
    graph, longest = same.graph, config.match_lengths[-1]
    one = graph.constant(np.array([1], np.int64))
    places = graph.constant(np.arange(1, config.match_window + 1, dtype=np.int64))
    which = graph.add("Mul", graph.add("Cast", same, to=TensorProto.INT64), places)
    latest = Integers(graph.add("ReduceMax", which, one, keepdims=1))  # 0 is none
    after = graph.add("GatherElements", text.value, (latest + (longest - 1)).value, axis=1)
    return graph.add("Mul", after, graph.add("Min", latest.value, one))


def embedded(codes: Value, embedding: Value) -> Value:
    """Return the embeddings of symbols side by side; zeros for code 0.

    Args:
        codes: Codes of the symbols, (batch, lengths) int64.
        embedding: The symbols' embeddings, (vocab_size + 1, embedding_size).
    """
    graph = codes.graph
    one, last = (graph.constant(np.array([number], np.int64)) for number in (1, 2))
    rows = graph.add("Gather", embedding, graph.add("Sub", codes, one), axis=0)  # -1: the last row
    known = graph.add("Cast", graph.add("Min", codes, one), to=TensorProto.FLOAT)
    return graph.add("Flatten", rows * graph.add("Unsqueeze", known, last), axis=1)
