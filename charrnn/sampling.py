"""Sampling: from a model's logits to new text.

Rules are functions from logits to logits on the last axis, the vocabulary's; what a rule removes becomes -inf. They are
applied in one order, whatever the order of the options:

    banned -> temperature -> top_k -> top_p -> draw

so top_p sees the probabilities after the temperature, and among the symbols that top_k left. Streams of ids or of text
keep nothing of what they have yielded: memory does not grow with the length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.config import Checked, option
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.healing import BoundModel, Continuation, Tail, most_steps, open_end
from charrnn.tokenizers import Tokenizer

Logits = npt.NDArray[np.floating[Any]]
Ids = npt.NDArray[np.integer[Any]]
UNKNOWN = ("error", "skip", "replace")
NAMED = 5  # unknown characters that an error names before it says "more"


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Checked):
    """How new text is drawn from a model's predictions."""

    length: int = option(500, "Characters to write", low=1, high=1 << 40)
    temperature: float = option(
        0.8, "Below 1 safer, above 1 bolder; 0 always takes the likeliest symbol", low=0, high=100
    )
    top_k: int | None = option(None, "Draw among this many likeliest symbols only", low=1)
    top_p: float | None = option(
        None, "Draw among the likeliest symbols that together reach this only", above=0, high=1
    )
    stop: str | None = option(None, "End just before this string")
    unknown: str = option(
        "error", "What to do with characters of the prompt that are new to the model", choices=UNKNOWN
    )

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.stop == "":
            raise UsageError("--stop must not be empty.", "Leave it out to write --length characters.")


class StepModel(Protocol):
    """A model that reads one symbol of each stream at a time; `charrnn.numpy_model.NumpyModel` is one."""

    @property
    def start(self) -> int:
        """The id that stands before the first symbol of a text."""
        ...

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """Return the state before the first symbol: arrays whose first axis is the stream."""
        ...

    def step(self, ids: Ids, state: Any) -> tuple[Logits, tuple[Any, ...]]:
        """Read ids (batch,); return logits (batch, vocab_size) and the new state, leaving `state` as it was."""
        ...


def ban(logits: Logits, banned: Sequence[int]) -> Logits:
    """Remove the ids in `banned`."""
    kept = logits.copy()
    kept[..., list(banned)] = -np.inf
    return kept


def apply_temperature(logits: Logits, temperature: float) -> Logits:
    """Move the largest logit to 0 and divide by `temperature`; temperature 0 keeps the likeliest symbol alone."""
    if temperature == 0:
        return keep_top_k(logits, 1)
    with np.errstate(over="ignore"):  # a tiny temperature may send the others to -inf, which is where they belong
        scaled: Logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    return scaled


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` largest; of equals, those with the smaller ids."""
    return keep_first(logits, rank(logits), k)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest symbols whose probabilities sum to at least `p`; of equals, those with the smaller ids."""
    if p >= 1:
        return logits  # all: a sum that rounding lets reach 1 early must not cost the rarest symbols
    ranked = rank(logits)
    reached = np.cumsum(np.take_along_axis(softmax(logits), ranked, axis=-1), axis=-1)
    return keep_first(logits, ranked, 1 + (reached[..., :-1] < p).sum(axis=-1, keepdims=True))


def rank(logits: Logits) -> Ids:
    """Return the ids in descending order of their logits, equals in ascending order of id."""
    return np.argsort(-logits, axis=-1, kind="stable")


def keep_first(logits: Logits, ranked: Ids, count: int | Ids) -> Logits:
    """Keep the first `count` ids of `ranked`; `count` may be an array (..., 1)."""
    kept = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(kept, ranked, np.arange(logits.shape[-1]) < count, axis=-1)
    return np.where(kept, logits, -np.inf)


def softmax(logits: Logits) -> Logits:
    """Return the probabilities that `logits` stand for."""
    weights: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def apply_rules(logits: Logits, config: SamplingConfig) -> Logits:
    """Apply the rules that `config` asks for, in the order that stands at the top of this file."""
    logits = apply_temperature(logits, config.temperature)
    if config.top_k is not None:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p is not None:
        logits = keep_top_p(logits, config.top_p)
    return logits


def draw(logits: Logits, config: SamplingConfig, rngs: Sequence[np.random.Generator]) -> npt.NDArray[np.int64]:
    """Draw one symbol for each stream, by the inverse of the cumulative distribution.

    Args:
        logits: Predictions, (batch, vocab_size); -inf for what must not be drawn.
        config: The rules.
        rngs: Each stream's own generator, of which one number is taken whatever the rules, so that what a stream draws
            does not depend on the streams beside it.

    Returns:
        Ids (batch,).

    Raises:
        ModelFileError: A stream's largest logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(logits.max(axis=-1)).all():
        raise ModelFileError("The model predicts numbers that are not finite: its weights have grown too large to use.")
    reached = np.cumsum(softmax(apply_rules(logits, config)), axis=-1)
    uniform = np.array([rng.random() for rng in rngs])
    # The first symbol whose sum exceeds the target: never one of probability 0, whose sum is its neighbour's.
    ids: npt.NDArray[np.int64] = (reached <= (uniform * reached[:, -1])[:, None]).sum(axis=-1)
    return ids


def generate(
    model: StepModel,
    prompt_ids: Sequence[int] | Ids,
    config: SamplingConfig,
    *,
    seed: int,
    num: int,
    banned: Sequence[int] = (),
) -> Iterator[npt.NDArray[np.int64]]:
    """Write `config.length` symbols in each of `num` streams, yielding ids (num,) as they are drawn.

    Args:
        model: The model that predicts.
        prompt_ids: What all streams begin with, after the start symbol; it is read once, and not yielded.
        config: The rules; `stop` and `unknown` concern text and are not looked at.
        seed: At least 0. Stream i has a generator of its own, of (`seed`, i): it does not depend on `num`.
        num: Streams, at least 1.
        banned: Ids that are never drawn.
    """
    rngs = [np.random.default_rng((seed, stream)) for stream in range(num)]
    ids, state = np.array([model.start]), model.initial_state(1)
    for symbol in prompt_ids:
        _, state = model.step(ids, state)
        ids = np.array([symbol], dtype=np.int64)
    ids, state = ids.repeat(num), tuple(part[[0] * num] for part in state)
    for _ in range(config.length):
        logits, state = model.step(ids, state)
        ids = draw(ban(logits, banned), config, rngs)
        yield ids


def generate_text(
    model: StepModel, tokenizer: Tokenizer, prompt: str, config: SamplingConfig, *, seed: int
) -> Iterator[str]:
    """Write one text, in pieces as they become certain. The prompt and the stop string are not part of it.

    A prompt may end inside of a word or piece: see `charrnn.healing`.

    Raises:
        TextError: The model has never seen some characters of the prompt; raised at the call, before the first piece.
    """
    steps, tail = _generate_ids(model, tokenizer, prompt, config, seed=seed, num=1)
    return (piece for (piece,) in _pieces(steps, tokenizer, config, tail, num=1) if piece)


def generate_texts(
    model: StepModel, tokenizer: Tokenizer, prompt: str, config: SamplingConfig, *, seed: int, num: int
) -> list[str]:
    """Write `num` texts side by side, of which the first is `generate_text`'s; end early when all have met `stop`.

    Raises:
        TextError: The model has never seen some characters of the prompt.
    """
    steps, tail = _generate_ids(model, tokenizer, prompt, config, seed=seed, num=num)
    return ["".join(pieces) for pieces in zip(*_pieces(steps, tokenizer, config, tail, num=num), strict=True)]


def _pieces(
    steps: Iterator[npt.NDArray[np.int64]], tokenizer: Tokenizer, config: SamplingConfig, tail: Tail, *, num: int
) -> Iterator[list[str]]:
    """Turn each step's ids into one piece of text per stream, until all streams have ended; then what was held."""
    streams = [
        (Continuation(tokenizer.decoder(), tail.characters, config.length), Cutter(config.stop)) for _ in range(num)
    ]
    for ids in steps:
        yield [
            cutter.feed(decoder.feed(symbol)) for (decoder, cutter), symbol in zip(streams, ids.tolist(), strict=True)
        ]
        if all(cutter.found or not decoder.left for decoder, cutter in streams):
            break
    yield [cutter.feed(decoder.flush()) + cutter.held for decoder, cutter in streams]


def _generate_ids(
    model: StepModel, tokenizer: Tokenizer, prompt: str, config: SamplingConfig, *, seed: int, num: int
) -> tuple[Iterator[npt.NDArray[np.int64]], Tail]:
    """Encode the prompt and begin to generate, never the unknown symbol: it stands for no text.

    Returns:
        The steps, and the end of the prompt that they begin with.
    """
    prompt_ids = encode_prompt(tokenizer, prompt, config.unknown)
    tail = open_end(tokenizer, prompt_ids)
    banned = () if tokenizer.unknown is None else (tokenizer.unknown,)
    enough = replace(config, length=most_steps(tokenizer, tail, config.length))
    bound = BoundModel(model, tail) if tail.ids else model
    return generate(bound, prompt_ids[: tail.begin], enough, seed=seed, num=num, banned=banned), tail


class Cutter:
    """Lets text through until a stop string, holding back only what may yet turn out to be its beginning.

    Attributes:
        held: The text held back: the end of what was fed, as far as the stop string begins like it.
        found: Whether the stop string has come; nothing is let through from then on.
    """

    def __init__(self, stop: str | None) -> None:
        self.stop = stop
        self.held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """Take the next piece of text; return what is now known to stand before the stop string."""
        if self.found:
            return ""
        if self.stop is None:
            return piece
        text = self.held + piece
        before, stop, _ = text.partition(self.stop)
        self.found = bool(stop)
        certain = len(before) if self.found else len(text) - overlap(text, self.stop)
        self.held = before[certain:]
        return before[:certain]


def overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` with which `stop` begins, `stop` itself excepted."""
    longest = min(len(text), len(stop) - 1)
    return next(size for size in range(longest, -1, -1) if text.endswith(stop[:size]))


def encode_prompt(tokenizer: Tokenizer, prompt: str, unknown: str = "error") -> Ids:
    """Turn a prompt, which may be empty, into ids.

    Characters that the model has never seen are an "error", or are left out ("skip"), or become the unknown symbol
    ("replace"), as `unknown` says.

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
    return TextError(f"The {where} has {count} that the model has never seen: {named}{more}.", f"Use {advice}.")


ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    r"""Write control characters as their escapes (\x1b), but newline and tab: no text should command a terminal."""
    return text.translate(ESCAPES)
