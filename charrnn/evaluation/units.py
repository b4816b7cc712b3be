"""Units that follow something nameable, found by correlation.

After Karpathy, Johnson and Li 2015, "Visualizing and Understanding Recurrent Networks". A unit's
activation is the last of its layer's states, squashed by tanh for an lstm, whose state is a memory
cell. Among many units, some correlate with anything by chance, so the unit is chosen on the first
half of the text, and the figure that is reported is its correlation on the second.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.config.cells import CELLS
from charrnn.data.encoding import Encoded
from charrnn.evaluation.score import Positions
from charrnn.model.numpy_model import NumpyModel
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.base import Ids

Values = npt.NDArray[np.floating[Any]]

MAX_ENTRIES = 1 << 24  # activations that are held in memory, 64 MB
MAX_SYMBOLS = 20_000
SEGMENT, WARM_UP = 400, 100  # symbols; segments of a text without records are read side by side
MIN_CORRELATION = 0.5  # of what is reported
MIN_SHARE = 0.005  # of the symbols at which a property differs from its most frequent value
TAB = 8  # columns


@dataclass(frozen=True)
class NamedUnit:
    """A unit that follows a property of the text.

    Attributes:
        layer: Layer, from 0 on.
        unit: Unit in the layer, from 0 on.
        property: What it follows, in words.
        correlation: Pearson's correlation on the half of the text that it was not chosen on.
        symbols: Number of symbols in that half.
    """

    layer: int
    unit: int
    property: str
    correlation: float
    symbols: int


def named_units(model: NumpyModel, tokenizer: Tokenizer, text: Encoded) -> list[NamedUnit]:
    """Return, for each property that a unit follows, the unit that follows it best.

    Args:
        model: The model.
        tokenizer: The tokenizer that made the ids.
        text: The text, of which the first `max_symbols` symbols are read.
    """
    ids = text.ids[: max_symbols(model)]
    found = properties(symbol_ends(tokenizer, ids))
    half = len(ids) // 2
    values = activations(model, ids, text.starts)
    first, second = (
        _correlations(values[part], {name: one[part] for name, one in found.items()})
        for part in (slice(0, half), slice(half, None))
    )
    return list(_best(first, second, model.config.hidden_size, len(ids) - half))


def max_symbols(model: NumpyModel) -> int:
    """Return the most symbols of a text that are read."""
    config = model.config
    return min(MAX_SYMBOLS, MAX_ENTRIES // (config.num_layers * config.hidden_size))


def activations(model: NumpyModel, ids: Ids, starts: Positions | None = None) -> Values:
    """Return each unit's activation after each symbol, (symbols, layers * hidden_size).

    Args:
        model: The model.
        ids: The text.
        starts: If it consists of records, where each begins.
    """
    values = np.zeros((len(ids), model.config.num_layers * model.config.hidden_size), np.float32)
    begins, ends, warm_up = _segments(len(ids), starts)
    for first in range(0, len(begins), 64):
        rows = slice(first, first + 64)
        _read_rows(model, ids, (begins[rows], ends[rows], warm_up), values)
    return values


def _segments(length: int, starts: Positions | None) -> tuple[Positions, Positions, int]:
    """Return where segments begin and end, and how much is read before each."""
    if starts is None:
        begins = np.arange(0, length, SEGMENT)
        return begins, np.minimum(begins + SEGMENT, length), WARM_UP
    begins = starts[starts < length]
    return begins, np.append(begins[1:], length), 0


def _read_rows(
    model: NumpyModel,
    ids: Ids,
    segments: tuple[Positions, Positions, int],
    values: Values,
) -> None:
    """Read segments side by side, and put their units' activations into `values`."""
    begins, ends, warm_up = segments
    read_from = np.maximum(0, begins - warm_up)
    _, state = model.step(np.full(len(begins), model.start), model.initial_state(len(begins)))
    for offset in range(int((ends - read_from).max(initial=0))):
        positions = read_from + offset
        _, state = model.step(ids[np.minimum(positions, len(ids) - 1)].astype(np.int64), state)
        wanted = (positions >= begins) & (positions < ends)
        values[positions[wanted]] = unit_values(model, state)[wanted]


def unit_values(model: NumpyModel, state: Sequence[Values]) -> Values:
    """Return the activations in a state, (batch, layers * hidden_size)."""
    count = CELLS[model.config.cell].num_states
    own = np.concatenate(state[count - 1 : count * model.config.num_layers : count], axis=1)
    return np.tanh(own) if model.config.cell == "lstm" else own


def symbol_ends(tokenizer: Tokenizer, ids: Ids) -> tuple[str, Positions]:
    """Return the text of some ids, and the number of its characters up to each of them."""
    decoder = tokenizer.decoder()
    pieces = [decoder.feed(symbol) for symbol in ids.tolist()]
    return "".join(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64)


def properties(text_and_ends: tuple[str, Positions]) -> dict[str, Values]:
    """Return what can be said of the text after each symbol, by its name, (symbols,) each.

    Properties that hardly ever change are left out.
    """
    text, ends = text_and_ends
    places = np.maximum(ends - 1, 0)
    found = {}
    for name, measure in PROPERTIES.items():
        values = np.fromiter(measure(text), np.float32, len(text))[places]
        _, counts = np.unique(values, return_counts=True)
        if len(values) - counts.max(initial=0) >= MIN_SHARE * len(values) > 0:
            found[name] = values
    return found


def _each(test: Callable[[str], bool]) -> Callable[[str], Iterator[float]]:
    """Return a property of the character that was read last."""
    return lambda text: (float(test(character)) for character in text)


def _since(resets: Callable[[str], bool]) -> Callable[[str], Iterator[float]]:
    """Return the number of characters since one for which `resets` is true, at most 100."""

    def count(text: str) -> Iterator[float]:
        since = 0
        for character in text:
            since = 0 if resets(character) else min(100, since + 1)
            yield since

    return count


def _word_starts(text: str) -> Iterator[float]:
    before = False
    for character in text:
        now = character.isalpha()
        yield float(now and not before)
        before = now


def _in_quotes(text: str) -> Iterator[float]:
    """Tell whether double quotes are open; a blank line closes them."""
    is_open = False
    for character, before in zip(text, "\n" + text, strict=False):
        if character in '"\u201c\u201d\u00ab\u00bb':
            is_open = not is_open if character == '"' else character in "\u201c\u00ab"
        is_open = is_open and not (character == before == "\n")
        yield float(is_open)


def _bracket_depth(text: str) -> Iterator[float]:
    """Count the brackets that are open; a blank line closes them."""
    depth = 0
    for character, before in zip(text, "\n" + text, strict=False):
        depth += (character in "([{") - (character in ")]}" and depth > 0)
        depth = 0 if character == before == "\n" else depth
        yield float(depth)


def _indentation(text: str) -> Iterator[float]:
    """Return the width of the white space at the beginning of the line, as far as it was read."""
    width, is_leading = 0, True
    for character in text:
        if character == "\n":
            width, is_leading = 0, True
        is_leading = is_leading and character in " \t\n"
        if is_leading and character != "\n":
            width = width + 1 if character == " " else width // TAB * TAB + TAB
        yield float(width)


PROPERTIES: Mapping[str, Callable[[str], Iterator[float]]] = {
    "inside double quotes": _in_quotes,
    "open brackets": _bracket_depth,
    "depth of indentation": _indentation,
    "position in the line": _since(lambda character: character == "\n"),
    "position in the word": _since(lambda character: not character.isalpha()),
    "first letter of a word": _word_starts,
    "capital letter": _each(str.isupper),
    "digit": _each(str.isdigit),
    "white space": _each(str.isspace),
    "punctuation": _each(lambda character: not (character.isalnum() or character.isspace())),
    "end of a sentence": _each(lambda character: character in ".!?\u2026"),
}


def _correlations(values: Values, found: Mapping[str, Values]) -> dict[str, Values]:
    """Return Pearson's correlation of each unit with each property, (units,) each."""
    units = _standardised(values)
    return {name: _standardised(one) @ units / max(1, len(one)) for name, one in found.items()}


def _standardised(values: Values) -> Values:
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    scaled: Values = np.zeros_like(centred)
    np.divide(centred, deviation, out=scaled, where=deviation > 0)
    return scaled


def _best(
    first: Mapping[str, Values], second: Mapping[str, Values], hidden: int, symbols: int
) -> Iterator[NamedUnit]:
    """Choose on the first half; report what the second half confirms."""
    for name, values in first.items():
        chosen = int(np.abs(values).argmax())
        confirmed = float(second[name][chosen])
        agrees = confirmed * float(values[chosen]) > 0
        if agrees and abs(confirmed) >= MIN_CORRELATION:
            yield NamedUnit(*divmod(chosen, hidden), name, confirmed, symbols)
