"""From a prompt to new text, whole or in pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig, check_generation
from charrnn.errors import TextError, UsageError, counted
from charrnn.sampling.decoding import (
    DecodedStep,
    DecoderState,
    Rule,
    StepModel,
    decode,
    prefill,
    text_start,
    uniform_numbers,
)
from charrnn.sampling.no_repeat import NoRepeat
from charrnn.sampling.stopping import Detokenizer
from charrnn.sampling.token_healing import Healing, Tail, open_tail
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

MAX_NAMED = 5  # unknown characters that an error names
MAX_BATCH = 256  # streams decoded in parallel; more would not be faster
MAX_WAITING = 1 << 21  # symbols of a batch that are held in memory until they are read


@dataclass(frozen=True)
class Sample:
    """A text and its log probabilities.

    Attributes:
        text: What was written after the prompt, without the stop string.
        ids: The new symbols, including those of what was cut off at the end. The first may begin
            with the end of the prompt, if that was inside a word.
        log_probs: Each symbol's log probability in the model's prediction, before any rule.
    """

    text: str
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]


@dataclass(frozen=True)
class Generator:
    """What is needed to write text: a model, its tokenizer, and the separator of its records.

    Attributes:
        model: The model that predicts.
        tokenizer: The model's tokenizer.
        separator: What ends a record, and so a text; None for a model of plain text.
    """

    model: StepModel
    tokenizer: Tokenizer
    separator: str | None = None


class GenerationRequest:
    """A request for some texts that continue the same prompt.

    Args:
        generator: The model, its tokenizer and separator.
        prompt: What all texts begin with.
        config: How they are drawn and where they end.
        seed: At least 0. The same seed gives the same texts.
        num: Number of texts, at least 1.

    Raises:
        UsageError: `seed` or `num` is out of range, or the prompt goes beyond a record.
        TextError: The prompt has characters that the model does not know.
    """

    def __init__(
        self, generator: Generator, prompt: str, config: SamplingConfig, *, seed: int, num: int
    ) -> None:
        check_generation(seed=seed, num=num)
        self.tokenizer, self.seed, self.num = generator.tokenizer, seed, num
        self.config = with_separator(config, prompt, generator.separator)
        prompt_ids = encode_prompt(self.tokenizer, prompt, config.unknown)
        self.tail = open_tail(self.tokenizer, prompt_ids)
        self.model = generator.model
        self.prompt_ids = prompt_ids[: self.tail.begin]
        self._after_prompt: DecoderState | None = None

    @property
    def batch_size(self) -> int:
        """The most streams that are decoded in parallel."""
        waiting = MAX_WAITING // max_symbols(self.tokenizer, self.config.length)
        return max(1, min(MAX_BATCH, waiting))

    def batches(self) -> Iterator[range]:
        """Yield the streams decoded in parallel: the first alone, then `batch_size` at a time."""
        yield range(1)
        for first in range(1, self.num, self.batch_size):
            yield range(first, min(first + self.batch_size, self.num))

    def steps(self, streams: range) -> Iterator[DecodedStep]:
        """Read the prompt, once for all batches, and draw in `streams`; no unknown symbols."""
        if self._after_prompt is None:
            self._after_prompt = prefill(self.model, text_start(self.model), self.prompt_ids)
        before = self._after_prompt.select([0] * len(streams))
        numbers = uniform_numbers(self.seed, streams)
        steps = len(self.tail.ids) + max_symbols(self.tokenizer, self.config.length)
        config, banned = replace(self.config, length=steps), banned_symbols(self.tokenizer)
        rules = memory_rules(self.tail, config, self.prompt_ids, len(streams))
        return decode(self.model, before, config, numbers, rules=rules, banned=banned)

    def texts(self) -> Iterator[Iterator[str]]:
        """Yield each text in pieces, to be read one after the other.

        The first text is decoded alone, while it is read. The others are decoded in batches of
        `batch_size`, each when its first text is read.
        """
        for streams in self.batches():
            if len(streams) == 1:
                yield self.pieces(streams.start)
            else:
                yield from (iter([sample.text]) for sample in self.samples(streams))

    def all_samples(self) -> Iterator[Sample]:
        """Yield each text as a whole, with its log probabilities."""
        for streams in self.batches():
            yield from self.samples(streams)

    def pieces(self, stream: int) -> Iterator[str]:
        """Yield one text in pieces; no part of it is kept in memory."""
        text = self.detokenizer()
        for step in self.steps(range(stream, stream + 1)):
            if piece := text.feed(int(step.ids[0])):
                yield piece
            if text.stop.reached:
                return
        if piece := text.flush():
            yield piece

    def samples(self, streams: range) -> list[Sample]:
        """Return the texts of `streams`, decoded in parallel until all have ended."""
        texts = [self.detokenizer() for _ in streams]
        pieces: list[list[str]] = [[] for _ in streams]
        ids, log_probs = list[Ids](), list[npt.NDArray[np.float64]]()
        for step in self.steps(streams):
            ids.append(step.ids)
            log_probs.append(step.log_probs())
            _feed(texts, step.ids, pieces)
            if all(text.stop.reached for text in texts):
                break
        columns = zip(texts, pieces, np.transpose(ids), np.transpose(log_probs), strict=True)
        return [self._sample(*column) for column in columns]

    def _sample(
        self, text: Detokenizer, pieces: list[str], symbols: Ids, log_probs: npt.NDArray[np.float64]
    ) -> Sample:
        """Return what a stream wrote, without the symbols that spell the prompt's end again."""
        ids = symbols[: text.fed].tolist()
        new = slice(self.tail.spelled_again(self.tokenizer, ids), text.fed)
        written = "".join([*pieces, text.flush()])
        return Sample(written, tuple(symbols[new].tolist()), tuple(log_probs[new].tolist()))

    def detokenizer(self) -> Detokenizer:
        """Return a detokenizer for one stream."""
        return Detokenizer(self.tokenizer, self.config, self.tail.characters)


def _feed(texts: list[Detokenizer], ids: Ids, pieces: list[list[str]]) -> None:
    """Feed each text that has not ended its next symbol, and append the piece that it returns."""
    for text, parts, symbol in zip(texts, pieces, ids.tolist(), strict=True):
        if not text.stop.reached:
            parts.append(text.feed(symbol))


def memory_rules(tail: Tail, config: SamplingConfig, past: Ids, num: int) -> list[Rule]:
    """Return the rules of `num` streams that remember what was drawn.

    Args:
        tail: The end of the prompt, which the streams spell again.
        config: Says whether sequences may be repeated.
        past: The symbols before the tail.
        num: Number of streams.
    """
    rules: list[Rule] = [Healing(tail, num)] if tail.ids else []
    return rules + ([NoRepeat(config.no_repeat, past, num)] if config.no_repeat else [])


def with_separator(config: SamplingConfig, prompt: str, separator: str | None) -> SamplingConfig:
    """Return `config` with the separator, if there is one, as another stop string.

    Raises:
        UsageError: The prompt goes beyond a record.
    """
    if separator is None:
        return config
    if separator in prompt:
        hint = "Give the beginning of one record."
        raise UsageError(f"The prompt holds {separator!r}, where a record ends.", hint)
    return replace(config, stop=(*config.stop, separator))


def max_symbols(tokenizer: Tokenizer, characters: int) -> int:
    """Return the most symbols that this many characters take: four each if symbols may be bytes."""
    return characters if tokenizer.unknown is not None else 4 * characters


def banned_symbols(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the symbols that stand for no text."""
    return () if tokenizer.unknown is None else (tokenizer.unknown,)


def encode_prompt(
    tokenizer: Tokenizer, prompt: str, unknown: str = "error", what: str = "prompt"
) -> npt.NDArray[np.integer[Any]]:
    """Turn a prompt, which may be empty, into ids.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The text.
        unknown: What to do with characters that the model does not know: "error", "skip" to leave
            them out, or "replace" to put the unknown symbol in their place.
        what: What errors call the text.

    Raises:
        TextError: There are such characters, and `unknown` is "error".
    """
    characters = tokenizer.unknown_characters(prompt)
    if characters and unknown == "error":
        raise unknown_error(
            characters,
            what,
            "`unknown` skip to leave them out, or `unknown` replace to put the unknown symbol in "
            "their place",
        )
    if unknown == "skip":
        prompt = prompt.translate(dict.fromkeys(map(ord, characters)))
    return tokenizer.encode(prompt)


def unknown_error(characters: Sequence[str], where: str, advice: str) -> TextError:
    """Return an error that names the first of a text's unknown characters, and gives advice."""
    named = ", ".join(f"{one!r} (U+{ord(one):04X})" for one in characters[:MAX_NAMED])
    rest = len(characters) - MAX_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    count = counted(len(characters), "character")
    message = f"The {where} has {count} that the model has never seen: {named}{more}."
    return TextError(message, f"Use {advice}.")
