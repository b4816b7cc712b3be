"""Sources of records as arrays: symbols of a text, a label, pixels of a picture, or features.

However they are read, sources are kept like encoded text: their numbers one after the other, and
where each begins. `SourceReader` reads one, `Sources` holds all those of a text, and `SourceArrays`
are some of them side by side, as a network reads them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config.source import COLOURS, SourceConfig
from charrnn.data.mapped import release_pages
from charrnn.data.pairs import END
from charrnn.data.pictures import PictureReader
from charrnn.errors import TextError, UsageError
from charrnn.sampling.generate import encode_prompt
from charrnn.storage.blend import Saved
from charrnn.tokenizers import LabelTokenizer, Tokenizer

Positions = NDArray[np.int64]
WEIGHTED = re.compile(r"(.+):(\d{1,9}|\d{0,9}\.\d{1,9})")  # a label and its weight in a mixture


class SourceArrays(NamedTuple):
    """Some sources side by side.

    Attributes:
        values: Symbols (batch, length) int64; pixels (batch, height, width, 3) uint8; or features
            (batch, length, size) float32. Shorter sources are padded with zeros.
        lengths: How many symbols or features each has, (batch,) int64; 1 for a picture.
    """

    values: NDArray[Any]
    lengths: Positions


def item_shape(config: SourceConfig) -> tuple[int, ...]:
    """Return the shape of an item of a source: a symbol, a whole picture, or a feature vector."""
    if config.reads_symbols:
        return ()
    if config.feature_size is not None:
        return (config.feature_size,)
    width, height = config.pixels
    return (height, width, COLOURS)


@dataclass(frozen=True)
class Sources:
    """The sources of all records of a text.

    Attributes:
        numbers: The numbers of all sources, one after the other, perhaps in a mapped file.
        starts: Where each source begins in `numbers`, (sources,), ascending from 0.
        shape: The shape of an item; see `item_shape`.
    """

    numbers: NDArray[Any]
    starts: Positions
    shape: tuple[int, ...]

    @property
    def item(self) -> int:
        """How many numbers an item has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def lengths(self) -> Positions:
        """How many items each source has, (sources,)."""
        ends = np.append(self.starts[1:], len(self.numbers))
        lengths: Positions = (ends - self.starts) // self.item
        return lengths

    def each(self) -> Iterator[NDArray[Any]]:
        """Return the numbers of each source, one-dimensional, one after the other."""
        return (self.select(np.array([number])).numbers for number in range(len(self.starts)))

    def select(self, chosen: Positions) -> "Sources":
        """Return some sources, given by their numbers, as sources in memory."""
        rows = [self.numbers[begin:end] for begin, end in self._bounds(chosen)]
        starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)[:-1]
        return replace(self, numbers=np.concatenate(rows), starts=starts)

    def _bounds(self, chosen: Positions) -> NDArray[np.int64]:
        """Return where some sources begin and end in `numbers`, (sources, 2)."""
        last = chosen == len(self.starts) - 1
        following = self.starts[np.where(last, chosen, chosen + 1)]
        ends = np.where(last, len(self.numbers), following)
        return np.stack([self.starts[chosen], ends], axis=1)

    def take(self, chosen: Positions) -> SourceArrays:
        """Return some sources, given by their numbers (batch,), side by side."""
        lengths: Positions = np.diff(self._bounds(chosen))[:, 0] // self.item
        width = int(lengths.max(initial=1)) * self.item
        values = self._at(self.starts[chosen][:, None] + np.arange(width))
        values[np.arange(width) >= lengths[:, None] * self.item] = 0
        return SourceArrays(values.reshape(len(chosen), *row_shape(self.shape)), lengths)

    def _at(self, places: Positions) -> NDArray[Any]:
        """Return some of the numbers; symbols become int64, pixels and features keep their type."""
        taken = self.numbers[np.minimum(places, len(self.numbers) - 1)]
        release_pages(self.numbers)
        return taken if self.shape else taken.astype(np.int64)


def row_shape(item: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a source: that of its one picture, or as many items as there are."""
    return item if len(item) == COLOURS else (-1, *item)


@dataclass(frozen=True)
class SourceReader:
    """Reads sources as a model needs them.

    Attributes:
        config: What the sources are.
        tokenizer: The tokenizer of texts or labels; None for pictures.
        folder: The folder that paths of pictures are relative to.
    """

    config: SourceConfig
    tokenizer: Tokenizer | None
    folder: Path = Path()

    @property
    def encoder(self) -> Any:
        """What turns a source into numbers, with the interface of a tokenizer's `encode`."""
        return self.tokenizer or PictureReader(self.config, self.folder)

    def read(self, source: str, unknown: str = "error") -> NDArray[Any]:
        """Return one source, given by a user, as `charrnn.model.source.numpy_source` reads it.

        Args:
            source: A text, a path, a label, or a mixture of labels such as poems:0.7,news:0.3.
            unknown: What to do with unknown characters; see `charrnn.sampling.generate`.

        Raises:
            TextError: The source is empty, unknown, or a picture that cannot be read.
        """
        if not source or source.isspace():
            raise TextError("The source is empty.")
        if self.tokenizer is None:
            numbers: NDArray[Any] = self.encoder.encode(source)
            return self.prepare(numbers)
        if isinstance(self.tokenizer, LabelTokenizer):
            return mixture(self.tokenizer, source)
        return encode_prompt(self.tokenizer, source + END, unknown, "source")

    def prepare(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers of a source, as they are kept, as the sampler's network reads them."""
        if isinstance(self.tokenizer, LabelTokenizer):
            return mixture(self.tokenizer, self.tokenizer.decode(numbers))
        shaped: NDArray[Any] = numbers.reshape(row_shape(item_shape(self.config)))
        return shaped

    def of(self, numbers: NDArray[Any], starts: Positions) -> Sources:
        """Return all sources of a text, from their numbers and where each of them begins."""
        return Sources(numbers, starts, item_shape(self.config))


def mixture(labels: LabelTokenizer, source: str) -> NDArray[np.float32]:
    """Return the weight of each label in a source, (labels,), which sum to 1.

    Args:
        labels: The known labels.
        source: One of them, or several, each with a positive weight, such as poems:0.7,news:0.3.

    Raises:
        TextError: A label is unknown.
    """
    parts = [WEIGHTED.fullmatch(part.strip()) for part in source.split(",")]
    weights = {part[1]: float(part[2]) for part in parts if part is not None}
    if source in labels.labels or len(weights) < len(parts) or not sum(weights.values()) > 0:
        weights = {source: 1.0}
    found = np.zeros(labels.size, np.float32)
    for label, weight in weights.items():
        found[labels.number(label)] = weight
    found /= found.sum()
    return found


def reader_of(saved: Saved) -> SourceReader:
    """Return what reads the sources of a model.

    Raises:
        UsageError: Its texts do not depend on a source.
    """
    if saved.source is None:
        hint = "Train one with charrnn train `source`."
        raise UsageError("This model's texts do not depend on a source.", hint)
    return SourceReader(saved.source, saved.source_tokenizer)


def refuse_sources(saved: Saved, what: str) -> None:
    """Raise `UsageError` if a model's texts depend on sources, which `what` cannot hold."""
    if saved.source is not None:
        raise UsageError(f"{what} cannot hold a model whose texts depend on a source.")
