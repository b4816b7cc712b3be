"""Beam search: a bounded, deterministic search for the most probable text.

All beams are extended by every symbol, and of the results, those with the largest total log
probability are kept, up to the number of beams. A beam that reaches a stop string, or the number of
lines or sentences asked for, stays among them but is not extended. The search ends when no beam can
be extended, or at the length limit. Texts are ranked by log probability per symbol, so that a text
does not win by being short; one that is cut off at the limit before it came to the end that was
asked for stands behind all that did, so that a text does not win by repeating itself. With enough
beams for every possible text, the search is exhaustive.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig, check_generation
from charrnn.errors import UsageError
from charrnn.sampling.decoding import DecoderState, StepModel, prefill, text_start
from charrnn.sampling.generate import (
    Generator,
    Sample,
    banned_symbols,
    encode_prompt,
    max_symbols,
    with_separator,
)
from charrnn.sampling.logits import ban, check_finite, log_softmax
from charrnn.sampling.no_repeat import NoRepeat
from charrnn.sampling.stopping import StopCondition
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

Beam = tuple[Ids, npt.NDArray[np.float64]]  # symbols and their log probabilities, (steps,) each


@dataclass
class Beams:
    """Texts that have not ended, the most probable first.

    Attributes:
        decoder_state: The model's state after each of them, of `count` streams.
        ids: The symbols written, (count, steps).
        log_probs: The model's log probability of each symbol, (count, steps).
        memory: What `no_repeat` must not repeat, or None.
    """

    decoder_state: DecoderState
    ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float64]
    memory: NoRepeat | None

    def select(self, rows: Ids) -> "Beams":
        """Return the beams of these rows, which may be repeated."""
        memory = self.memory and self.memory.select(rows)
        state = self.decoder_state.select(rows)
        return Beams(state, self.ids[rows], self.log_probs[rows], memory)


class Found(NamedTuple):
    """A text that is not extended, and whether it came to an end that was asked for."""

    sample: Sample
    ended: bool

    def rank(self) -> tuple[bool, float]:
        """Return what is smaller for a better text."""
        log_probs = self.sample.log_probs
        return not self.ended, -sum(log_probs) / len(log_probs)


def search(
    generator: Generator, prompt: str, config: SamplingConfig, *, beam: int, num: int = 1
) -> list[Sample]:
    """Return the `num` best texts, best first; of equals, the one found first.

    Args:
        generator: The model, its tokenizer and separator.
        prompt: What the texts begin with.
        config: `length`, `stop`, `until`, `no_repeat` and `unknown`; the other settings have no
            effect, as nothing is drawn.
        beam: Number of beams, 1 to 1,024.
        num: Number of texts, 1 to `beam`.

    Raises:
        UsageError: `beam` or `num` is out of range, or the prompt goes beyond a record.
        TextError: The prompt has characters that the model does not know.
    """
    check_generation(num=num, beam=beam)
    if num > beam:
        raise UsageError(f"`num` must be at most `beam`, which is {beam}, not {num}.")
    model, tokenizer = generator.model, generator.tokenizer
    config = with_separator(config, prompt, generator.separator)
    beams = _first_beam(model, encode_prompt(tokenizer, prompt, config.unknown), config)
    found: list[Found] = []
    for left in range(max_symbols(tokenizer, config.length) - 1, -1, -1):
        beams = grow(model, beams, banned_symbols(tokenizer), beam - len(found))
        both = zip(beams.ids, beams.log_probs, strict=True)
        texts = [_finished(tokenizer, config, one, last=left == 0) for one in both]
        found += [text for text in texts if text is not None]
        beams = beams.select(np.flatnonzero([text is None for text in texts]))
        if not len(beams.ids):
            break
    return [one.sample for one in sorted(found, key=Found.rank)[:num]]


def _first_beam(model: StepModel, prompt_ids: Ids, config: SamplingConfig) -> Beams:
    memory = NoRepeat(config.no_repeat, prompt_ids, 1) if config.no_repeat else None
    state = prefill(model, text_start(model), prompt_ids)
    return Beams(state, np.zeros((1, 0), np.int64), np.zeros((1, 0)), memory)


def grow(model: StepModel, beams: Beams, banned: tuple[int, ...], places: int) -> Beams:
    """Extend all beams by one symbol and return the `places` most probable results."""
    logits, state = model.step(*beams.decoder_state)
    predicted = log_softmax(check_finite(logits))
    allowed = ban(predicted, banned)
    if beams.memory:
        allowed = beams.memory.forbid(allowed)
    totals = beams.log_probs.sum(axis=1, keepdims=True) + allowed
    best = np.argsort(-totals, axis=None, kind="stable")[:places]
    best = best[np.isfinite(totals.ravel()[best])]
    rows, symbols = np.divmod(best, logits.shape[1])
    after = DecoderState(beams.decoder_state.ids, state)
    grown = Beams(after, beams.ids, beams.log_probs, beams.memory).select(rows)
    if grown.memory:
        grown.memory.append(symbols)
    return Beams(
        DecoderState(symbols, grown.decoder_state.state),
        np.column_stack([grown.ids, symbols]),
        np.column_stack([grown.log_probs, predicted[rows, symbols]]),
        grown.memory,
    )


def _finished(
    tokenizer: Tokenizer, config: SamplingConfig, beam: Beam, *, last: bool
) -> Found | None:
    """Return the text of a beam if it ends there, as every text does at the last step; else None.

    Args:
        tokenizer: The model's tokenizer.
        config: What ends a text.
        beam: The text.
        last: Whether this is the last step.
    """
    (ids, log_probs), stop = beam, StopCondition(config)
    text = stop.feed(tokenizer.decode(ids))
    if last:
        text += stop.flush()
    if not (last or stop.reached):
        return None
    return Found(Sample(text, tuple(ids.tolist()), tuple(log_probs.tolist())), stop.ended)
