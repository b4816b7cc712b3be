"""Scores in detail: of each line by itself, and of each token with what the model thought of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import PLAIN, TextFormat
from charrnn.evaluation.score import LN2, Positions, Score, ScoringProtocol
from charrnn.evaluation.scoring import (
    MAX_ROWS,
    Autocast,
    Measured,
    Segments,
    break_down,
    nats_of,
    predictions,
    segments,
)
from charrnn.model.network import CharRNN
from charrnn.tokenizers import Tokenizer


def score_lines(
    model: CharRNN,
    tokenizer: Tokenizer,
    lines: Sequence[str],
    *,
    autocast: Autocast | None = None,
) -> list[Score]:
    """Score each line by itself, from the start symbol on; an empty line has no tokens.

    Args:
        model: Put into evaluation mode for the while.
        tokenizer: The model's.
        lines: Texts, together as long as memory allows; they are scored side by side, which changes
            no result.
        autocast: As for `charrnn.evaluation.scoring.evaluate`.
    """
    if not lines:
        return []
    texts = [encode_text(tokenizer, line) for line in lines]
    ids = np.concatenate([text.ids for text in texts])
    ends = np.cumsum([len(text.ids) for text in texts], dtype=np.int64)
    nats = np.zeros(len(ids))
    found = predictions(model, ids, _line_groups(ends), autocast=autocast)
    for positions, losses in nats_of(found):
        nats[positions] = losses
    parts = zip(texts, np.split(nats, ends[:-1]), strict=True)
    return [
        break_down([(np.arange(len(part)), part)], tokenizer, text).score for text, part in parts
    ]


def _line_groups(ends: Positions) -> Iterator[Segments]:
    """Put lines of about the same length side by side."""
    begins = np.concatenate([[0], ends[:-1]])
    order = np.argsort(ends - begins, kind="stable")
    order = order[(ends > begins)[order], None]
    for first in range(0, len(order), MAX_ROWS):
        rows = order[first : first + MAX_ROWS]
        yield Segments(begins[rows], begins[rows], ends[rows])


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
    text_format: TextFormat = PLAIN,
    autocast: Autocast | None = None,
) -> Iterator[Surprisal]:
    """Yield each token of a text, in its order; together they cost what `evaluate` says.

    Args:
        model: Put into evaluation mode for the while.
        tokenizer: The model's.
        text: In the units of its format: records, each with its separator, or anything.
        protocol: How the state runs.
        text_format: How the text is organised.
        autocast: As for `charrnn.evaluation.scoring.evaluate`.
    """
    encoded = encode_text(tokenizer, text, text_format)
    groups = segments(encoded, protocol)
    found = in_order(predictions(model, encoded.ids, groups, in_detail, autocast=autocast))
    decoder, shown = tokenizer.decoder(), 0
    for symbol, nats, rank, entropy in _one_by_one(encoded, found):
        begin, shown = shown, shown + len(decoder.feed(symbol))
        unknown = symbol == tokenizer.unknown
        bits = (nats + unknown * tokenizer.unknown_nats) / LN2
        yield Surprisal(text[begin:shown], symbol, bits, int(rank), entropy / LN2, unknown)


def _one_by_one(
    encoded: Encoded, found: Iterable[tuple[Positions, Measured]]
) -> Iterator[tuple[int, float, float, float]]:
    for positions, values in found:
        symbols = encoded.ids[positions].tolist()
        yield from zip(symbols, *map(np.ndarray.tolist, values), strict=True)


def in_detail(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each prediction the target's nats, its rank, and the entropy in nats."""
    likelihoods = torch.log_softmax(logits, dim=-1)
    own = likelihoods.gather(-1, targets[:, None])
    rank = (likelihoods > own).sum(dim=-1) + 1
    return -own[:, 0], rank, -(likelihoods.exp() * likelihoods).sum(dim=-1)


def in_order(
    found: Iterable[tuple[Positions, Measured]],
) -> Iterator[tuple[Positions, Measured]]:
    """Put what was scored side by side into the order of the text.

    No more is held back than must be.
    """
    held: list[tuple[Positions, Measured]] = []
    due = end = count = 0
    for positions, values in found:
        held.append((positions, values))
        end, count = max(end, int(positions.max(initial=-1)) + 1), count + len(positions)
        if count and count == end - due:
            together = np.concatenate([one for one, _ in held])
            order = np.argsort(together)
            columns = zip(*(values for _, values in held), strict=True)
            yield together[order], tuple(np.concatenate(column)[order] for column in columns)
            held, due, count = [], end, 0
