"""Detailed scores: each line by itself, and each token with its surprisal, rank and entropy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import PLAIN, TextFormat
from charrnn.evaluation.score import LN2, Positions, Score, ScoringProtocol, break_down
from charrnn.evaluation.scoring import (
    MAX_ROWS,
    Autocast,
    Measured,
    Segments,
    losses_only,
    nats_of,
    predictions,
    segments,
)
from charrnn.model.blended_network import Network
from charrnn.tokenizers import Tokenizer


def score_lines(
    model: Network,
    tokenizer: Tokenizer,
    lines: Sequence[str],
    *,
    autocast: Autocast | None = None,
) -> list[Score]:
    """Score each line by itself, from the start symbol; an empty line has no tokens.

    Args:
        model: The model, which runs in evaluation mode.
        tokenizer: The model's tokenizer.
        lines: The lines, which have to fit in memory together. They are scored side by side, which
            does not change any result.
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
    """Group lines of similar length, to be scored side by side."""
    begins = np.concatenate([[0], ends[:-1]])
    order = np.argsort(ends - begins, kind="stable")
    order = order[(ends > begins)[order], None]
    for first in range(0, len(order), MAX_ROWS):
        rows = order[first : first + MAX_ROWS]
        yield Segments(begins[rows], begins[rows], ends[rows])


@dataclass(frozen=True)
class Surprisal:
    """A token, and how well the model predicted it.

    Attributes:
        text: The characters of the text that the token completes; empty if it is a part of one.
        id: The token's id.
        bits: Its negative log likelihood in bits, including the charge for an unknown character.
        rank: 1 plus the number of symbols that the model gave a higher probability.
        entropy: Entropy of the prediction in bits, which is the expected surprisal.
        unknown: Whether the tokenizer does not know it.
    """

    text: str
    id: int
    bits: float
    rank: int
    entropy: float
    unknown: bool


def surprisals(
    model: Network,
    tokenizer: Tokenizer,
    text: str,
    protocol: ScoringProtocol,
    *,
    text_format: TextFormat = PLAIN,
    autocast: Autocast | None = None,
) -> Iterator[Surprisal]:
    """Yield each token of a text in order; their bits add up to the score of `evaluate`.

    Args:
        model: The model, which runs in evaluation mode.
        tokenizer: The model's tokenizer.
        text: The text. In a format of records, each record has its separator.
        protocol: How the state is carried or reset.
        text_format: How the text is organised.
        autocast: As for `charrnn.evaluation.scoring.evaluate`.
    """
    encoded = encode_text(tokenizer, text, text_format)
    yield from surprisals_of(model, tokenizer, (text, encoded), protocol, autocast=autocast)


def surprisals_of(
    model: Network,
    tokenizer: Tokenizer,
    both: tuple[str, Encoded],
    protocol: ScoringProtocol,
    *,
    autocast: Autocast | None = None,
) -> Iterator[Surprisal]:
    """Yield each token of a text that is given both as it is and as ids; see `surprisals`."""
    text, encoded = both
    groups, sources = segments(encoded, protocol), encoded.sources
    found = in_order(
        predictions(model, encoded.ids, groups, in_detail, sources=sources, autocast=autocast)
    )
    decoder, end = tokenizer.decoder(), 0
    for symbol, nats, rank, entropy in _one_by_one(encoded, found):
        begin, end = end, end + len(decoder.feed(symbol))
        unknown = symbol == tokenizer.unknown
        bits = (nats + unknown * tokenizer.unknown_nats) / LN2
        yield Surprisal(text[begin:end], symbol, bits, int(rank), entropy / LN2, unknown)


def _one_by_one(
    encoded: Encoded, found: Iterable[tuple[Positions, Measured]]
) -> Iterator[tuple[int, float, float, float]]:
    for positions, values in found:
        symbols = encoded.ids[positions].tolist()
        yield from zip(symbols, *map(np.ndarray.tolist, values), strict=True)


def in_detail(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the target's nats, the target's rank and the entropy in nats of each prediction."""
    log_probs = torch.log_softmax(logits, dim=-1)
    own = log_probs.gather(-1, targets[:, None])
    rank = (log_probs > own).sum(dim=-1) + 1
    return -own[:, 0], rank, -(log_probs.exp() * log_probs).sum(dim=-1)


def with_best(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the target's nats, and the most probable symbol of each prediction."""
    return (*losses_only(logits, targets), logits.argmax(dim=-1))


def in_order(
    found: Iterable[tuple[Positions, Measured]],
) -> Iterator[tuple[Positions, Measured]]:
    """Sort measurements of segments that were scored side by side into the order of the text.

    They are yielded as soon as all positions before them are there.
    """
    waiting: list[tuple[Positions, Measured]] = []
    begin = end = count = 0
    for positions, values in found:
        waiting.append((positions, values))
        end, count = max(end, int(positions.max(initial=-1)) + 1), count + len(positions)
        if count and count == end - begin:
            joined = np.concatenate([one for one, _ in waiting])
            order = np.argsort(joined)
            columns = zip(*(values for _, values in waiting), strict=True)
            yield joined[order], tuple(np.concatenate(column)[order] for column in columns)
            waiting, begin, count = [], end, 0
