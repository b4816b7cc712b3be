"""What the program works out for a page: its excerpt, memory, rounding and surprising lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from charrnn.config.sampling import SamplingConfig
from charrnn.data.encoding import Encoded, encode_text
from charrnn.data.formats import TextFormat
from charrnn.evaluation.score import LN2, Score, ScoringProtocol
from charrnn.evaluation.units import symbol_ends
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import parameter_count
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.sampling.logits import log_softmax
from charrnn.sampling.records import generate_records
from charrnn.storage.blend import numpy_model
from charrnn.storage.model_file import SavedModel

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer

EXCERPT = 1000  # symbols that the page begins with
LAGS = 64  # symbols that the memory looks back
MEMORY_WORK = 6e10  # weights times symbols; of large models, the memory looks back less
LINES, MIN_LINE = 20, 8  # surprising lines that are shown; characters in each, at least


@dataclass(frozen=True)
class Excerpt:
    """The text that a page begins with.

    Attributes:
        text: At least one character.
        source: Where it comes from, in a sentence.
        bits: Of each symbol, as the NumPy model computes them from the page's weights.
    """

    text: str
    source: str
    bits: list[float]


@dataclass(frozen=True)
class Rounding:
    """What the number format of the page's weights costs.

    Attributes:
        bits_per_char: How many more bits per character a text takes than with the model's own
            weights; negative if it takes fewer.
        characters: Length of that text.
    """

    bits_per_char: float
    characters: int

    def __str__(self) -> str:
        """Return this in words."""
        more = "more" if self.bits_per_char >= 0 else "fewer"
        return (
            f"{abs(self.bits_per_char):.5f} bits per character {more} than the model's own weights,"
            f" over {self.characters:,} characters"
        )


@dataclass(frozen=True)
class Line:
    """A line of the text, its place, counted from 1, and its bits per character."""

    number: int
    text: str
    bits_per_char: float


def write_excerpt(saved: SavedModel, text_format: TextFormat) -> str:
    """Return a text that the model writes."""
    separator = text_format.separator
    generator = Generator(numpy_model(saved), saved.tokenizer, separator)
    rules = SamplingConfig(length=EXCERPT)
    if separator is None:
        request = GenerationRequest(generator, "", rules, seed=1, num=1)
        return "".join(request.pieces(0)) or " "
    records = generate_records(generator, "", rules, seed=1, num=20)
    written = (record.text for record in records)
    return "".join(one + separator for one in written if one.strip()) or f".{separator}"


def make_excerpt(
    rounded: SavedModel, text: str, text_format: TextFormat, source: str
) -> tuple[Excerpt, Encoded]:
    """Return the beginning of a text, as an excerpt and as ids."""
    tokenizer = rounded.tokenizer
    ids = encode_text(tokenizer, text, text_format).ids[:EXCERPT]
    _, ends = symbol_ends(tokenizer, ids)
    beginning = text[: max(1, int(ends[-1]))]
    encoded = encode_text(tokenizer, beginning, text_format)
    unknown_bits = (encoded.ids == tokenizer.unknown) * tokenizer.unknown_nats / LN2
    bits = _serial_bits(numpy_model(rounded), encoded) + unknown_bits
    return Excerpt(beginning, source, [round(float(one), 7) for one in bits]), encoded


def _serial_bits(model: NumpyModel, text: Encoded) -> npt.NDArray[np.float64]:
    bits = np.zeros(len(text.ids))
    for begin, end in _stretches(text):
        last, state = model.start, model.initial_state(1)
        for place, symbol in enumerate(text.ids[begin:end].tolist(), begin):
            logits, state = model.step(np.array([last]), state)
            bits[place] = -log_softmax(logits)[0, symbol] / LN2
            last = symbol
    return bits


def _stretches(text: Encoded) -> Iterator[tuple[int, int]]:
    """Yield where each stretch of text that is read from the start symbol begins and ends."""
    starts = [0] if text.starts is None else text.starts.tolist()
    yield from zip(starts, [*starts[1:], len(text.ids)], strict=True)


def measure_rounding(own: Score, rounded: "Scorer", text: Encoded) -> Rounding:
    """Score a text with the page's weights, beside its score with the model's own."""
    after = rounded.score(text).score
    return Rounding(after.bits_per_char - own.bits_per_char, text.characters)


def measure_memory(scorer: "Scorer", text: Encoded) -> npt.NDArray[np.uint8]:
    """Return how much each symbol depends on those before it; see `Contents`."""
    from charrnn.evaluation.dependence import input_gradients

    network = scorer.single("A page")
    weights = parameter_count(network.config)
    lags = max(8, min(LAGS, int(MEMORY_WORK / (weights * EXCERPT))))
    norms = [input_gradients(network, text.ids[begin:end], lags) for begin, end in _stretches(text)]
    joined = np.concatenate(norms)
    greatest = joined.max(axis=1, keepdims=True)
    shares = np.divide(joined, greatest, out=np.zeros_like(joined), where=greatest > 0)
    levels: npt.NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8)
    return levels


def surprising_lines(scorer: "Scorer", text: str, text_format: TextFormat) -> list[Line]:
    """Return the lines of a text that take the most bits per character, the worst first."""
    protocol = ScoringProtocol.records() if text_format.separator else ScoringProtocol.carried()
    found, bits, line = list[Line](), 0.0, ""
    for token in scorer.tokens(text, protocol, text_format):
        bits, line = bits + token.bits, line + token.text
        if "\n" in line:
            found.append(Line(len(found) + 1, line.strip(), bits / len(line)))
            bits, line = 0.0, ""
    long = (one for one in found if len(one.text) >= MIN_LINE)
    return sorted(long, key=lambda one: -one.bits_per_char)[:LINES]
