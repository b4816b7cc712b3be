"""Pairs: lines of a source, one TAB and a target.

    der mann schläft<TAB>the man is asleep

There is no quoting, no escape and no header. Blank lines are left out, and a carriage return before
the end of a line is dropped. Lines with the same source are on the same side of a split, as each is
another reference for it; if the sources are labels, lines with the same target are.

The targets are records that end with a newline, and so are sources that are texts. A label or the
path of a picture has no end.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from charrnn.config.fields import shorten
from charrnn.config.source import SourceConfig
from charrnn.data.formats import RecordFormat, exact_fraction
from charrnn.data.records import RecordIndex, record_hash
from charrnn.data.split import TextPart, TextSplit
from charrnn.data.text import Text
from charrnn.errors import TextError

END = "\n"
FORMAT = RecordFormat(END)
WHAT = "Reading the pairs"
SHOWN = 60  # characters of a line that an error shows

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairSplit:
    """The targets and the sources of a file of pairs, each split into two parts.

    Attributes:
        targets: The targets.
        sources: The sources, in the same order.
    """

    targets: TextSplit
    sources: TextSplit


def cut_pairs(chunks: Iterable[str], name: str) -> Iterator[Pair]:
    """Yield the source and the target of each line that is not blank.

    Args:
        chunks: The text.
        name: Its name in an error message.

    Raises:
        TextError: A line does not have exactly one TAB, or a source or a target is empty.
    """
    for number, line in enumerate(_lines(chunks), 1):
        if line:
            yield _pair(line, f"Line {number:,} of {name}")


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    held = ""
    for chunk in chunks:
        *lines, held = (held + chunk).split(END)
        yield from (line.removesuffix("\r") for line in lines)
    yield held.removesuffix("\r")


def _pair(line: str, where: str) -> Pair:
    tabs = line.count("\t")
    if tabs != 1:
        count = f"{tabs} TABs" if tabs else "no TAB"
        raise TextError(
            f"{where} has {count} instead of one between source and target: {shorten(line, SHOWN)}",
            "Two files with a line each for source and target become one by: paste a b > pairs.tsv"
            if not tabs
            else "There is no quoting: replace the TABs inside of a source or a target.",
        )
    source, _, target = line.partition("\t")
    for side, what in ((source, "source"), (target, "target")):
        if not side or side.isspace():
            raise TextError(f"{where} has an empty {what}: {shorten(line, SHOWN)}")
    return source, target


def side_of(pair: Pair, config: SourceConfig, *, source: bool, folder: Path = Path()) -> str:
    """Return one side of a pair as it is encoded: a text with its end, a label or a path.

    Args:
        pair: The pair.
        config: What its sides are.
        source: Which side.
        folder: What the paths of pictures are relative to.
    """
    if source and config.source == "image":
        return str(folder / pair[0])
    text, kind = (pair[0], config.source) if source else (pair[1], config.target)
    return text + END if kind == "text" else text


def folder_of(text: Text) -> Path:
    """Return the folder that paths in a text are relative to: that of its first file."""
    path = text.files[0].path if text.files else "-"
    return Path() if path == "-" else Path(path).parent


def split_pairs(
    text: Text, config: SourceConfig, valid_fraction: float, valid: Text | None = None
) -> PairSplit:
    """Split a file of pairs, or use a second one as the held-out part.

    Args:
        text: The file.
        config: What sources and targets are.
        valid_fraction: Fraction of the targets' characters that is held out; ignored if there is a
            second file.
        valid: The second file, which is held out as a whole.

    Raises:
        UsageError: `valid_fraction` is out of range.
        TextError: A line is not a pair, or there is only one source.
    """
    index, sha256 = index_pairs(text, config), text.sha256
    if valid is None:
        chosen = index.split(float(exact_fraction(valid_fraction) * index.characters))
        train = _Chosen(text, chosen.train_length, above=chosen.last_hash)
        rest = _Chosen(text, index.characters - train.characters, up_to=chosen.last_hash)
    else:
        train = _Chosen(text, index.characters)
        rest = _Chosen(valid, index_pairs(valid, config).characters)
        sha256 = hashlib.sha256(f"{sha256}{valid.sha256}".encode()).hexdigest()

    def side(*, source: bool) -> TextSplit:
        first, last = (chosen.part(config, source=source) for chosen in (train, rest))
        return TextSplit(text.name, sha256, FORMAT, first, last)

    return PairSplit(side(source=False), side(source=True))


def whole_part(text: Text, config: SourceConfig, *, source: bool) -> TextPart:
    """Return one side of all pairs of a file."""
    return _Chosen(text, text.characters).part(config, source=source)


@dataclass(frozen=True)
class _Chosen:
    """The pairs of a file whose hash is above one number and up to another.

    Attributes:
        text: The file.
        characters: Characters of their targets.
        above: The first number.
        up_to: The second number.
    """

    text: Text
    characters: int
    above: int = -1
    up_to: int = 1 << 64

    def part(self, config: SourceConfig, *, source: bool) -> TextPart:
        """Return one side of these pairs."""
        select = partial(self._select, config, source=source)
        return TextPart(self.text, FORMAT, select, self.characters)

    def _select(
        self, config: SourceConfig, chunks: Iterable[str], *, source: bool
    ) -> Iterator[str]:
        folder = folder_of(self.text)
        for pair in cut_pairs(chunks, self.text.name):
            if self._holds(_key(pair, config)):
                yield side_of(pair, config, source=source, folder=folder)

    def _holds(self, key: str) -> bool:
        return self.above < record_hash(key) <= self.up_to


def _key(pair: Pair, config: SourceConfig) -> str:
    """Return what two pairs on different sides of a split must not share."""
    return pair[1] if config.source == "label" else pair[0]


def index_pairs(text: Text, config: SourceConfig) -> RecordIndex:
    """Read all pairs once, and return the index of their targets.

    Raises:
        TextError: A line is not a pair.
    """
    hashes, lengths = array("Q"), array("q")
    for pair in cut_pairs(text.chunks(WHAT), text.name):
        hashes.append(record_hash(_key(pair, config)))
        lengths.append(len(side_of(pair, config, source=False)))
    if not lengths:
        raise TextError(f"There is no pair in {text.name}.")
    return RecordIndex(np.frombuffer(hashes, np.uint64), np.frombuffer(lengths, np.int64), 0)
