"""What can be asked of a model for a given source, besides texts."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.model.blend import Blend
from charrnn.model.given_source import GivenSource
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling.decoding import text_start
from charrnn.sampling.generate import Generator
from charrnn.sampling.logits import check_finite, log_softmax
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids


class Alignment(NamedTuple):
    """How much each symbol of a target attends to each part of its source.

    Attributes:
        source: The source's symbols; numbers for the cells of a picture.
        target: The target's symbols.
        weights: (target symbols, parts of the source), each row of sum 1.
    """

    source: list[str]
    target: list[str]
    weights: npt.NDArray[np.float32]


def with_source(generator: Generator, values: npt.NDArray[Any]) -> Generator:
    """Return a model that writes from sources, for one of them.

    Args:
        generator: The model, whether it was given another source before or not.
        values: The source; see `charrnn.model.source.numpy_source`.
    """
    model = generator.model
    whole = model.model if isinstance(model, GivenSource) else model
    assert isinstance(whole, (NumpyModel, Blend))
    return replace(generator, model=GivenSource.of(whole, values))


def label_probabilities(generator: Generator) -> dict[str, float]:
    """Return the probability of each label, the most probable first; of equals, as they are kept.

    Args:
        generator: A model that writes labels, for a given source.
    """
    logits, _ = generator.model.step(*text_start(generator.model))
    found = np.exp(log_softmax(check_finite(logits))[0])
    order = np.argsort(-found, kind="stable")
    return {generator.tokenizer.decode([number]): float(found[number]) for number in order}


def alignment(
    generator: Generator, target: str, source_ids: Ids | None, source_tokenizer: Tokenizer | None
) -> Alignment:
    """Return the alignment of a target with the source that a model was given.

    Args:
        generator: The model, for a given source, to which it attends.
        target: The target, at least one symbol.
        source_ids: The symbols of the source, if it is a text.
        source_tokenizer: Their tokenizer.
    """
    model = generator.model
    assert isinstance(model, GivenSource)
    ids = generator.tokenizer.encode(target)
    inputs = np.concatenate([[model.start], ids[:-1]]).astype(np.int64)
    weights = model.alignment(inputs)
    columns = [str(number) for number in range(1, weights.shape[1] + 1)]
    if source_ids is not None and source_tokenizer is not None:
        columns = symbols_of(source_tokenizer, source_ids)
    return Alignment(columns, symbols_of(generator.tokenizer, ids), weights)


def symbols_of(tokenizer: Tokenizer, ids: Ids) -> list[str]:
    """Return the text of each symbol."""
    return [tokenizer.decode([symbol]) for symbol in ids]
