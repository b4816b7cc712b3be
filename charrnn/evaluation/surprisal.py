"""Scores in detail: of each line by itself, and of each token with what the model thought of it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.data.records import encode_text
from charrnn.data.text import encode
from charrnn.evaluation.scoring import (
    ROWS,
    Places,
    Score,
    ScoringProtocol,
    nats_of,
    predictions,
    segments,
    tally,
)
from charrnn.model.network import CharRNN
from charrnn.tokenizers import Tokenizer

Arrays = tuple[npt.NDArray[Any], ...]


def score_lines(
    model: CharRNN,
    tokenizer: Tokenizer,
    lines: Sequence[str],
    *,
    autocast: Callable[[], Any] | None = None,
) -> list[Score]:
    """Score each line by itself, from the start symbol on.

    An empty line has no tokens and costs nothing.

    Args:
        model: Put into evaluation mode for the while.
        tokenizer: The model's.
        lines: Texts, together as long as memory allows; they are scored side by side, which changes
            no result.
        autocast: As for `charrnn.evaluation.scoring.evaluate`.
    """
    texts = [encode(tokenizer, line) for line in lines]
    ids = np.concatenate([text.ids for text in texts]) if texts else np.zeros(0, dtype=np.uint8)
    ends = np.cumsum([len(text.ids) for text in texts], dtype=np.int64)
    nats = np.zeros(len(ids))
    for places, losses in nats_of(predictions(model, ids, _line_groups(ends), autocast=autocast)):
        nats[places] = losses
    parts = zip(texts, np.split(nats, ends[:-1]), strict=True) if texts else ()
    return [tally([(np.arange(len(part)), part)], tokenizer, text).score for text, part in parts]


def _line_groups(ends: Places) -> Iterator[tuple[Places, Places]]:
    """Put lines of about the same length side by side.

    See `charrnn.evaluation.scoring.segments`.
    """
    begins = np.concatenate([[0], ends[:-1]])
    order = np.argsort(ends - begins, kind="stable")
    order = order[(ends > begins)[order]]
    for begin in range(0, len(order), ROWS):
        rows = order[begin : begin + ROWS]
        yield np.stack([begins[rows], begins[rows]], axis=1), ends[rows, None]


@dataclass(frozen=True)
class Surprisal:
    """A token, and what the model thought of it.

    Attributes:
        text: The characters that became certain with it, as they stand in the text; none for a part
            of one.
        id: The symbol.
        bits: Its negative log likelihood, base 2, and the charge if it is unknown.
        rank: Symbols that the model thought likelier, plus 1.
        entropy: Of the prediction, in bits: how much the model expected to be surprised.
        unknown: Whether the tokenizer has never seen it.
    """

    text: str
    id: int
    bits: float
    rank: int
    entropy: float
    unknown: bool


def surprisals(
    model: CharRNN,
    tokenizer: Tokenizer,
    text: str,
    protocol: ScoringProtocol,
    *,
    separator: str | None = None,
    autocast: Callable[[], Any] | None = None,
) -> Iterator[Surprisal]:
    """Yield each token of a text, in its order.

    Together they cost what `charrnn.evaluation.scoring.evaluate` says.

    Args:
        model: Put into evaluation mode for the while.
        tokenizer: The model's.
        text: Records, if there is a separator, each of which ends with it.
        protocol: How the state runs.
        separator: Ends each record of the text.
        autocast: As for `charrnn.evaluation.scoring.evaluate`.
    """
    encoded = encode_text(tokenizer, text, separator)
    groups = segments(encoded, protocol)
    found = predictions(model, encoded.ids, groups, in_detail, autocast=autocast)
    decoder, shown = tokenizer.decoder(), 0
    for places, values in in_order(found):
        for symbol, nats, rank, entropy in zip(
            encoded.ids[places].tolist(), *map(np.ndarray.tolist, values), strict=True
        ):
            begin, shown = shown, shown + len(decoder.feed(symbol))
            unknown = symbol == tokenizer.unknown
            bits = (nats + unknown * tokenizer.unknown_nats) / math.log(2)
            yield Surprisal(text[begin:shown], symbol, bits, rank, entropy / math.log(2), unknown)


def in_detail(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each prediction the nats of the target, its rank, and the entropy in nats."""
    likelihoods = torch.log_softmax(logits, dim=-1)
    own = likelihoods.gather(-1, targets[:, None])
    return (
        -own[:, 0],
        (likelihoods > own).sum(dim=-1) + 1,
        -(likelihoods.exp() * likelihoods).sum(dim=-1),
    )


def in_order(found: Iterable[tuple[Places, Arrays]]) -> Iterator[tuple[Places, Arrays]]:
    """Put what was scored side by side into the order of the text, holding back no more than must be."""
    held: list[tuple[Places, Arrays]] = []
    due = end = count = 0
    for places, values in found:
        held.append((places, values))
        end, count = max(end, int(places.max(initial=-1)) + 1), count + len(places)
        if count and count == end - due:
            together = np.concatenate([places for places, _ in held])
            order = np.argsort(together)
            columns = zip(*(values for _, values in held), strict=True)
            yield together[order], tuple(np.concatenate(column)[order] for column in columns)
            held, due, count = [], end, 0
