r"""Words and what stands between them; words outside the vocabulary are spelled.

A text is cut into units of at most 64 characters:

- a word: letters, digits, combining marks and underscores, with at most one apostrophe inside, and
  the space before it;
- in scripts that are written without spaces (Han, kana, Thai, Lao, Khmer, Burmese), each letter by
  itself;
- a run of one kind of white space: spaces, tabs or line feeds;
- a run of any other characters, and the space before it; letters beyond U+FFFF count as these.

So `Don't go,  he said` is `Don't| go|,|  |he| said`. The most frequent units are symbols. Any other
unit is spelled, in bytes and in symbols for the frequent characters beyond ASCII. No symbol is both
a byte and a unit, so a model always knows whether it is spelling: the byte `a` occurs only inside a
spelled word.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np

from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers.base import MAX_SIZE, Ids
from charrnn.tokenizers.byte_fallback import (
    BYTES,
    ByteFallbackTokenizer,
    check_entries,
    check_filled,
    default_size,
    find_matches,
    most_frequent,
    spread_sample,
)

SAMPLE = 1 << 24  # most characters that the vocabulary is learned from, spread over the text
COVERAGE = 0.9995  # fraction of the characters beyond ASCII that get a symbol for spelling
MAX_DEFAULT_SIZE = 1 << 14  # largest vocabulary that is chosen by default
SEPARATOR = "\0"  # between the units in a model file; part of none
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
)


@dataclass(frozen=True)
class WordTokenizer(ByteFallbackTokenizer):
    """Words as symbols: ids are, in this order, the 256 bytes, the characters and the units.

    Attributes:
        characters: Characters beyond ASCII that have a symbol for spelling, most frequent first.
        units: Units in the vocabulary, most frequent first, joined by `SEPARATOR`; may be empty.
    """

    kind: ClassVar[str] = "word"

    characters: str
    units: str

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Count the units of a sample; see `Tokenizer.train`.

        If `size` is None, units need to occur twice, and `default_size` limits their number.
        """
        sample, length = spread_sample(chunks, SAMPLE)
        counts = Counter[str]()
        for units in find_matches(sample, unit_pattern()):
            counts.update(units)
        if not counts:
            raise TextError("There is nothing to learn a vocabulary from: the text is empty.")
        characters = spelling_characters(counts)
        room = (default_size(length, 6, MAX_DEFAULT_SIZE) if size is None else size) - len(BYTES)
        if room < 1:
            raise UsageError(f"`vocab_size` must be more than {len(BYTES)} for words, not {size}.")
        characters = characters[:room]
        ranked = [
            unit
            for unit in most_frequent(counts, 1)
            if SEPARATOR not in unit and (size or counts[unit] > 1)
        ]
        units = ranked[: room - len(characters)]
        check_filled(size, len(BYTES) + len(characters) + len(units), cls.kind)
        return cls("".join(characters), SEPARATOR.join(units))

    def extended(self, other: Self) -> Self:
        """Return a tokenizer that also knows the characters and units of `other`, after its own."""
        characters = dict.fromkeys(self.characters + other.characters)
        units = dict.fromkeys([*self._unit_list, *other._unit_list])
        return type(self)("".join(characters), SEPARATOR.join(units))

    def symbols_of(self, other: Self) -> list[list[int]]:
        """Return the ids with which this tokenizer writes each symbol of `other`."""
        ids, spell = self._ids, self._spell_unit
        units = ([ids[one]] if one in ids else [*spell(one)] for one in other._unit_list)
        characters = ([*spell(one)] for one in other.characters)
        return [*([value] for value in range(len(BYTES))), *characters, *units]

    @cached_property
    def spellings(self) -> tuple[bytes, ...]:
        """The bytes of each id."""
        return (*BYTES, *(symbol.encode() for symbol in (*self.characters, *self._unit_list)))

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text in pieces; see `Tokenizer.encode_chunks`."""
        find, spell = self._ids.get, self._spell_unit
        for units in find_matches(chunks, unit_pattern()):
            found = map(find, units)
            ids = [
                (id_,) if id_ is not None else spell(unit)
                for id_, unit in zip(found, units, strict=True)
            ]
            yield np.fromiter(chain.from_iterable(ids), self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as JSON values."""
        return {"kind": self.kind, "characters": self.characters, "units": self.units}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned; see `Tokenizer.from_dict`."""
        check_entries(values, cls.kind, "characters", "units")
        characters, units = values["characters"], values["units"]
        if len(characters) + units.count(SEPARATOR) + len(BYTES) >= MAX_SIZE:
            raise ModelFileError(
                f"The word tokenizer has more than the {MAX_SIZE:,} symbols that are allowed."
            )
        if any("\ud800" <= character <= "\udfff" for character in chain(characters, units)):
            raise ModelFileError(
                "The word tokenizer has a surrogate among its symbols, which no text can hold."
            )
        tokenizer = cls(characters, units)
        listed = tokenizer._unit_list
        if "" in listed or len(set(listed)) < len(listed) or len(set(characters)) < len(characters):
            raise ModelFileError("The word tokenizer has a symbol twice, or an empty one.")
        return tokenizer

    @cached_property
    def _unit_list(self) -> list[str]:
        return self.units.split(SEPARATOR) if self.units else []

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {
            unit: id_ for id_, unit in enumerate(self._unit_list, len(BYTES) + len(self.characters))
        }

    @cached_property
    def _character_ids(self) -> dict[str, int]:
        return {character: id_ for id_, character in enumerate(self.characters, len(BYTES))}

    def _spell_unit(self, unit: str) -> Iterable[int]:
        """Return the ids that spell a unit character by character."""
        if unit.isascii():
            return unit.encode()
        ids = self._character_ids
        return [id_ for c in unit for id_ in ((ids[c],) if c in ids else c.encode())]


def spelling_characters(counts: Counter[str]) -> list[str]:
    """Return the frequent characters beyond ASCII in units of more than one character."""
    characters = Counter[str]()
    for unit, count in counts.items():
        if len(unit) > 1 and not unit.isascii():
            for character in unit:
                characters[character] += count * (character >= "\x80")
    return most_frequent(+characters, COVERAGE)


@cache
def unit_pattern() -> re.Pattern[str]:
    """Return the pattern of one unit, as described at the top of this file."""
    word = word_class()
    return re.compile(
        rf" ?[{word}]{{1,33}}(?:['\u2019][{word}]{{1,29}})?"
        rf"|[{SPACELESS}]"
        rf"| ?[^{word}{SPACELESS}\s]{{1,63}}"
        r"| {1,64}|\n{1,64}|\t{1,64}|\s"
    )


def word_class() -> str:
    """Return the regular expression ranges of the characters of words, without `SPACELESS`.

    Letters beyond U+FFFF are left out, because with them matching takes five times as long.
    """
    alone = re.compile(f"[{SPACELESS}]")
    points = [
        point
        for point in range(0x10000)
        if (unicodedata.category(chr(point))[0] in "LMN" or point == ord("_"))
        and not alone.match(chr(point))
    ]
    runs = np.split(points, np.flatnonzero(np.diff(points) > 1) + 1)
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
