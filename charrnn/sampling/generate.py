"""From a prompt to new text, in pieces as they become certain, ending where it should."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig, check_run
from charrnn.errors import TextError
from charrnn.sampling.decoding import Place, Step, StepModel, begin, read, uniforms, write
from charrnn.sampling.logits import Ids
from charrnn.sampling.stopping import Speller
from charrnn.sampling.token_healing import BoundModel, open_end
from charrnn.tokenizers import Tokenizer

NAMED = 5  # unknown characters that an error names before it says "more"
BESIDE = 256  # streams at once: more do not make a step cheaper for each
HELD = 1 << 21  # symbols that wait, at most, for the texts before them to be read


@dataclass(frozen=True)
class Sample:
    """A text and what the model thought of it.

    Attributes:
        text: What was written after the prompt, without the stop string.
        ids: The symbols drawn for it, those of the stop string and of what `until` cut off
            included.
        log_probs: The natural logarithm of each symbol's probability in the model's own prediction,
            before any rule.
    """

    text: str
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]


def generate_text(
    model: StepModel, tokenizer: Tokenizer, prompt: str, config: SamplingConfig, *, seed: int
) -> Iterator[str]:
    """Write one text, in pieces as they become certain.

    The prompt and the stop string are not part of it.

    Raises:
        UsageError: `seed` is negative; raised at the call, before the first piece, as the next.
        TextError: The model has never seen some characters of the prompt.
    """
    return next(generate_texts(model, tokenizer, prompt, config, seed=seed, num=1))


def generate_texts(
    model: StepModel,
    tokenizer: Tokenizer,
    prompt: str,
    config: SamplingConfig,
    *,
    seed: int,
    num: int,
) -> Iterator[Iterator[str]]:
    """Yield `num` texts, each in pieces, to be read one after the other.

    The first is `generate_text`'s, bit for bit, since it is written alone, while it is read. The
    others are written side by side, as many at once as can wait within a fixed amount of memory.

    Raises:
        UsageError: `seed` or `num` is out of range; raised at the call, as the next.
        TextError: The model has never seen some characters of the prompt.
    """
    return Job(model, tokenizer, prompt, config, seed=seed, num=num).texts()


def generate_samples(
    model: StepModel,
    tokenizer: Tokenizer,
    prompt: str,
    config: SamplingConfig,
    *,
    seed: int,
    num: int,
) -> Iterator[Sample]:
    """Yield the texts of `generate_texts`, each whole and with its log probabilities.

    It raises what that does.
    """
    job = Job(model, tokenizer, prompt, config, seed=seed, num=num)
    return chain.from_iterable(map(job.samples, job.groups()))


class Job:
    """All that the streams of one request have in common.

    Args:
        model: The model that predicts.
        tokenizer: The model's.
        prompt: What all texts begin with.
        config: How they go on.
        seed: At least 0.
        num: Texts to write.

    Raises:
        UsageError: `seed` or `num` is out of range.
        TextError: The model has never seen some characters of the prompt.
    """

    def __init__(
        self,
        model: StepModel,
        tokenizer: Tokenizer,
        prompt: str,
        config: SamplingConfig,
        *,
        seed: int,
        num: int,
    ) -> None:
        check_run(seed=seed, num=num)
        self.tokenizer, self.config, self.seed, self.num = tokenizer, config, seed, num
        prompt_ids = encode_prompt(tokenizer, prompt, config.unknown)
        self.tail = open_end(tokenizer, prompt_ids)
        self.model = BoundModel(model, self.tail) if self.tail.ids else model
        self.prompt_ids = prompt_ids[: self.tail.begin]
        self._place: Place | None = None

    @property
    def beside(self) -> int:
        """Streams that are written together, at most."""
        return max(1, min(BESIDE, HELD // most_symbols(self.tokenizer, self.config.length)))

    def groups(self) -> Iterator[range]:
        """Yield the numbers of the streams that are written together.

        The first alone, then as many as may wait.
        """
        yield range(1)
        for first in range(1, self.num, self.beside):
            yield range(first, min(first + self.beside, self.num))

    def steps(self, streams: range) -> Iterator[Step]:
        """Read the prompt, once for all groups, and write in `streams`, never the unknown symbol.

        It has no text.
        """
        if self._place is None:
            self._place = read(self.model, begin(self.model), self.prompt_ids)
        place, numbers = self._place.select([0] * len(streams)), uniforms(self.seed, streams)
        steps = len(self.tail.ids) + most_symbols(self.tokenizer, self.config.length)
        enough, banned = replace(self.config, length=steps), banned_symbols(self.tokenizer)
        return write(self.model, place, enough, numbers, past=self.prompt_ids, banned=banned)

    def texts(self) -> Iterator[Iterator[str]]:
        """Yield each text in pieces.

        Those of one group are written as soon as the first of it is asked for.
        """
        for streams in self.groups():
            if len(streams) == 1:
                yield self.pieces(streams.start)
            else:
                yield from (iter([sample.text]) for sample in self.samples(streams))

    def pieces(self, stream: int) -> Iterator[str]:
        """Write one text in pieces, keeping nothing of it."""
        speller = Speller(self.tokenizer, self.config, self.tail.characters)
        for step in self.steps(range(stream, stream + 1)):
            if piece := speller.feed(int(step.ids[0])):
                yield piece
            if speller.ending.ended:
                return
        if piece := speller.flush():
            yield piece

    def samples(self, streams: range) -> list[Sample]:
        """Write texts side by side, until all have ended."""
        spellers = [Speller(self.tokenizer, self.config, self.tail.characters) for _ in streams]
        pieces: list[list[str]] = [[] for _ in streams]
        ids, log_probs = [], []
        for step in self.steps(streams):
            ids.append(step.ids)
            log_probs.append(step.log_probs())
            if not spell(spellers, step.ids, pieces):
                break
        columns = zip(spellers, pieces, np.transpose(ids), np.transpose(log_probs), strict=True)
        return [
            Sample(
                "".join([*parts, speller.flush()]),
                tuple(symbols[: speller.fed].tolist()),
                tuple(values[: speller.fed].tolist()),
            )
            for speller, parts, symbols, values in columns
        ]


def spell(spellers: "Sequence[Speller]", ids: Ids, pieces: list[list[str]]) -> bool:
    """Add each stream's next piece of text; return whether any stream goes on."""
    going = False
    for speller, parts, symbol in zip(spellers, pieces, ids.tolist(), strict=True):
        if not speller.ending.ended:
            parts.append(speller.feed(symbol))
            going = going or not speller.ending.ended
    return going


def most_symbols(tokenizer: Tokenizer, characters: int) -> int:
    """Return how many symbols so many characters take at most.

    Four for each, where symbols may be bytes.
    """
    return characters if tokenizer.unknown is not None else 4 * characters


def banned_symbols(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the symbols that stand for no text."""
    return () if tokenizer.unknown is None else (tokenizer.unknown,)


def encode_prompt(
    tokenizer: Tokenizer, prompt: str, unknown: str = "error"
) -> npt.NDArray[np.integer[Any]]:
    """Turn a prompt, which may be empty, into ids.

    Characters that the model has never seen are an "error", or are left out ("skip"), or become the
    unknown symbol ("replace"), as `unknown` says.

    Raises:
        TextError: There are such characters, and `unknown` is "error".
    """
    strangers = tokenizer.unknown_characters(prompt)
    if strangers and unknown == "error":
        advice = "--unknown skip to leave them out, or --unknown replace to put the unknown symbol in their place"
        raise unknown_error(strangers, "prompt", advice)
    if unknown == "skip":
        prompt = prompt.translate(dict.fromkeys(map(ord, strangers)))
    return tokenizer.encode(prompt)


def unknown_error(strangers: Sequence[str], where: str, advice: str) -> TextError:
    """Name the first of a text's unknown characters and say what can be done about them."""
    named = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in strangers[:NAMED])
    more = f" and {len(strangers) - NAMED} more" if len(strangers) > NAMED else ""
    count = "1 character" if len(strangers) == 1 else f"{len(strangers)} characters"
    return TextError(
        f"The {where} has {count} that the model has never seen: {named}{more}.", f"Use {advice}."
    )


ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def visible(text: str) -> str:
    r"""Write control characters as their escapes (\x1b), but newline and tab.

    No text should command a terminal.
    """
    return text.translate(ESCAPES)
