"""From a prompt to new text, in pieces as they become certain, ending where it should."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig, check_run
from charrnn.errors import TextError, UsageError
from charrnn.sampling.decoding import (
    DecodedStep,
    DecoderState,
    StepModel,
    decode,
    prefill,
    text_start,
    uniform_numbers,
)
from charrnn.sampling.stopping import Detokenizer
from charrnn.sampling.token_healing import ConstrainedModel, open_tail
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

MAX_NAMED = 5  # unknown characters that an error names before it says "more"
MAX_BATCH = 256  # streams at once: more do not make a step cheaper for each
MAX_WAITING = 1 << 21  # symbols that wait, at most, for the texts before them to be read


@dataclass(frozen=True)
class Sample:
    """A text and what the model thought of it.

    Attributes:
        text: What was written after the prompt, without the stop string.
        ids: The symbols drawn for it, those of what was cut off at its end included.
        log_probs: The log probability of each symbol in the model's own prediction, before any rule.
    """

    text: str
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]


@dataclass(frozen=True)
class Generator:
    """What writes: a model, its tokenizer, and what ends each record that it was trained on.

    Attributes:
        model: Predicts.
        tokenizer: The model's.
        separator: A text also ends where a record does, if this is not None.
    """

    model: StepModel
    tokenizer: Tokenizer
    separator: str | None = None


class GenerationRequest:
    """All that the streams of one request have in common.

    Args:
        generator: What writes.
        prompt: What all texts begin with.
        config: How they go on.
        seed: At least 0. The same seed gives the same texts.
        num: Texts to write, at least 1.

    Raises:
        UsageError: `seed` or `num` is out of range, or the prompt goes beyond a record.
        TextError: The prompt has characters that the model does not know.
    """

    def __init__(
        self, generator: Generator, prompt: str, config: SamplingConfig, *, seed: int, num: int
    ) -> None:
        check_run(seed=seed, num=num)
        self.tokenizer, self.seed, self.num = generator.tokenizer, seed, num
        self.config = with_separator(config, prompt, generator.separator)
        prompt_ids = encode_prompt(self.tokenizer, prompt, config.unknown)
        self.tail = open_tail(self.tokenizer, prompt_ids)
        own = generator.model
        self.model = ConstrainedModel(own, self.tail) if self.tail.ids else own
        self.prompt_ids = prompt_ids[: self.tail.begin]
        self._after_prompt: DecoderState | None = None

    @property
    def batch_size(self) -> int:
        """Streams that are written side by side, at most."""
        return max(
            1, min(MAX_BATCH, MAX_WAITING // max_symbols(self.tokenizer, self.config.length))
        )

    def batches(self) -> Iterator[range]:
        """Yield the streams that are written side by side: the first alone, then as many as may."""
        yield range(1)
        for first in range(1, self.num, self.batch_size):
            yield range(first, min(first + self.batch_size, self.num))

    def steps(self, streams: range) -> Iterator[DecodedStep]:
        """Read the prompt, once for all batches, and draw in `streams`, never an unknown symbol."""
        if self._after_prompt is None:
            self._after_prompt = prefill(self.model, text_start(self.model), self.prompt_ids)
        before = self._after_prompt.select([0] * len(streams))
        numbers = uniform_numbers(self.seed, streams)
        steps = len(self.tail.ids) + max_symbols(self.tokenizer, self.config.length)
        config, banned = replace(self.config, length=steps), banned_symbols(self.tokenizer)
        return decode(self.model, before, config, numbers, past=self.prompt_ids, banned=banned)

    def texts(self) -> Iterator[Iterator[str]]:
        """Yield each text in pieces, to be read one after the other.

        The first is written alone, while it is read. The others are written side by side, as many
        at once as can wait within a fixed amount of memory; those of a batch as soon as the first of
        it is asked for.
        """
        for streams in self.batches():
            if len(streams) == 1:
                yield self.pieces(streams.start)
            else:
                yield from (iter([sample.text]) for sample in self.samples(streams))

    def all_samples(self) -> Iterator[Sample]:
        """Yield each text whole and with its log probabilities."""
        for streams in self.batches():
            yield from self.samples(streams)

    def pieces(self, stream: int) -> Iterator[str]:
        """Write one text in pieces, keeping nothing of it."""
        text = self.detokenizer()
        for step in self.steps(range(stream, stream + 1)):
            if piece := text.feed(int(step.ids[0])):
                yield piece
            if text.stop.reached:
                return
        if piece := text.flush():
            yield piece

    def samples(self, streams: range) -> list[Sample]:
        """Write texts side by side, until all have ended."""
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
        return [
            Sample(
                "".join([*parts, text.flush()]),
                tuple(symbols[: text.fed].tolist()),
                tuple(values[: text.fed].tolist()),
            )
            for text, parts, symbols, values in columns
        ]

    def detokenizer(self) -> Detokenizer:
        """Return what turns a stream's symbols into its text."""
        return Detokenizer(self.tokenizer, self.config, self.tail.characters)


def _feed(texts: list[Detokenizer], ids: Ids, pieces: list[list[str]]) -> None:
    """Add each stream's next piece of text."""
    for text, parts, symbol in zip(texts, pieces, ids.tolist(), strict=True):
        if not text.stop.reached:
            parts.append(text.feed(symbol))


def with_separator(config: SamplingConfig, prompt: str, separator: str | None) -> SamplingConfig:
    """Return rules by which a text also ends where a record does.

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
    """Return how many symbols so many characters take at most.

    That is four for each, where symbols may be bytes.
    """
    return characters if tokenizer.unknown is not None else 4 * characters


def banned_symbols(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the symbols that stand for no text."""
    return () if tokenizer.unknown is None else (tokenizer.unknown,)


def encode_prompt(
    tokenizer: Tokenizer, prompt: str, unknown: str = "error"
) -> npt.NDArray[np.integer[Any]]:
    """Turn a prompt, which may be empty, into ids.

    Args:
        tokenizer: The model's.
        prompt: The text.
        unknown: Characters that the model does not know are an "error", or are left out ("skip"), or
            become the unknown symbol ("replace").

    Raises:
        TextError: There are such characters, and `unknown` is "error".
    """
    strange = tokenizer.unknown_characters(prompt)
    if strange and unknown == "error":
        raise unknown_error(
            strange,
            "prompt",
            "`unknown` skip to leave them out, or `unknown` replace to put the unknown symbol in "
            "their place",
        )
    if unknown == "skip":
        prompt = prompt.translate(dict.fromkeys(map(ord, strange)))
    return tokenizer.encode(prompt)


def unknown_error(characters: Sequence[str], where: str, advice: str) -> TextError:
    """Name the first of a text's unknown characters and say what can be done about them."""
    named = ", ".join(f"{one!r} (U+{ord(one):04X})" for one in characters[:MAX_NAMED])
    rest = len(characters) - MAX_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    count = "1 character" if len(characters) == 1 else f"{len(characters)} characters"
    message = f"The {where} has {count} that the model has never seen: {named}{more}."
    return TextError(message, f"Use {advice}.")
