"""A tokenizer and models whose every prediction is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.config.model import ModelConfig
from charrnn.config.sampling import SamplingConfig
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import weight_shapes
from charrnn.sampling.decoding import (
    DecodedStep,
    decode,
    prefill,
    text_start,
    uniform_numbers,
)
from charrnn.sampling.generate import GenerationRequest, Generator, memory_rules
from charrnn.sampling.token_healing import Tail
from charrnn.tokenizers.char import CharDecoder

LETTERS = "abcdef"


@dataclass
class FakeTokenizer:
    """`LETTERS` are 1, 2, ...; 0 is unknown."""

    kind = "fake"
    size = len(LETTERS) + 1
    unknown: int | None = 0
    unknown_nats = 0.0
    dtype = np.dtype(np.uint8)

    def encode(self, text: str) -> np.ndarray:
        return np.array([LETTERS.find(character) + 1 for character in text], dtype=np.uint8)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(("\ufffd" + LETTERS)[i] for i in ids)

    def decoder(self) -> CharDecoder:
        return CharDecoder("\ufffd" + LETTERS)

    def spell(self, symbol: int) -> bytes:
        return ("\ufffd" + LETTERS)[symbol].encode()

    def unknown_characters(self, text: str) -> list[str]:
        return [character for character in dict.fromkeys(text) if character not in LETTERS]


FAKE: Any = FakeTokenizer()  # all that sampling asks of a tokenizer, not all that a tokenizer has


class TableModel:
    """Predicts from a table by the last symbol, so exactly alike in every batch.

    Notes what it reads.
    """

    start = FakeTokenizer.size

    def __init__(self, table: np.ndarray) -> None:
        self.table = table.astype(np.float32)
        self.read: list[list[int]] = []

    def initial_state(self, batch: int) -> tuple[np.ndarray, ...]:
        return (np.zeros(batch, dtype=int),)

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        self.read.append(ids.tolist())
        return self.table[ids], (state[0] + ids,)


class RowModel(TableModel):
    """Spells a given text, one symbol after the other, and begins it again at its end.

    Its state is the position.
    """

    def __init__(self, text: str) -> None:
        super().__init__(np.eye(FakeTokenizer.size)[FAKE.encode(text)] * 50)

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        self.read.append(ids.tolist())
        return self.table[state[0] % len(self.table)], (state[0] + 1,)


def random_table(seed: int = 0) -> TableModel:
    return TableModel(
        np.random.default_rng(seed).normal(size=(FakeTokenizer.size + 1, FakeTokenizer.size))
    )


def small_numpy_model() -> NumpyModel:
    config = ModelConfig(vocab_size=FakeTokenizer.size, hidden_size=8, embedding_size=4)
    rng = np.random.default_rng(5)
    return NumpyModel(
        config,
        {name: rng.normal(scale=0.6, size=shape) for name, shape in weight_shapes(config).items()},
    )


def request(
    model: Any,
    prompt: str,
    config: SamplingConfig,
    *,
    seed: int = 1,
    num: int = 1,
    tokenizer: Any = FAKE,
) -> GenerationRequest:
    """Ask a model for texts."""
    return GenerationRequest(Generator(model, tokenizer), prompt, config, seed=seed, num=num)


def written(*arguments: Any, **options: Any) -> str:
    """Return the first text of a request."""
    return "".join(request(*arguments, **options).pieces(0))


def generate_ids(
    model: Any,
    prompt_ids: Sequence[int],
    config: SamplingConfig,
    *,
    seed: int,
    streams: range,
    banned: Sequence[int] = (),
) -> Iterator[DecodedStep]:
    """Draw `config.length` symbols in each of `streams` after a prompt, without text."""
    ids = np.array(prompt_ids, np.int64)
    before = prefill(model, text_start(model), ids).select([0] * len(streams))
    rules = memory_rules(Tail(), config, ids, len(streams))
    numbers = uniform_numbers(seed, streams)
    yield from decode(model, before, config, numbers, rules=rules, banned=banned)
