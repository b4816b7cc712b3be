"""Labels: each is one symbol, whatever it is called."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError, TextError
from charrnn.tokenizers.base import Ids, checked_ids, id_dtype, to_bytes

MAX_LABELS = 1 << 16
MAX_NAMED = 20  # labels that an error names


@dataclass(frozen=True)
class LabelTokenizer:
    """Maps each label of a training set to one symbol; other labels are refused.

    Attributes:
        labels: The labels, in code point order; the id is the place.
        counts: How often each occurred in the training set, from which a prior follows.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]

    kind: ClassVar[str] = "label"
    unknown: ClassVar[None] = None
    unknown_nats: ClassVar[float] = 0.0

    @property
    def size(self) -> int:
        """Number of labels."""
        return len(self.labels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type for the ids and the start symbol."""
        return id_dtype(self.size)

    def number(self, label: str) -> int:
        """Return a label's id.

        Raises:
            TextError: It did not occur in the training set.
        """
        if label not in self._ids:
            raise TextError(f"The model has never seen the label {label[:80]!r}.", self._known())
        return self._ids[label]

    def _known(self) -> str:
        """Return a sentence about the known labels."""
        named = ", ".join(map(repr, self.labels[:MAX_NAMED]))
        more = f" and {self.size - MAX_NAMED:,} more" if self.size > MAX_NAMED else ""
        return f"It knows {named}{more}."

    @property
    def characters_begun(self) -> NDArray[np.int64]:
        """The length of each label, (size,)."""
        return np.array([len(label) for label in self.labels], np.int64)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def encode(self, text: str) -> Ids:
        """Return the id of one label, (1,)."""
        return np.array([self.number(text)], self.dtype)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the id of each label."""
        return map(self.encode, chunks)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the labels with these ids, joined."""
        return "".join(self.labels[symbol] for symbol in checked_ids(ids, self.size))

    def decoder(self) -> "LabelDecoder":
        """Return a decoder of single ids."""
        return LabelDecoder(self.labels)

    def spell(self, symbol: int) -> bytes:
        """Return a label's bytes."""
        return to_bytes(self.labels[symbol])

    def unknown_characters(self, text: str) -> list[str]:
        """Return nothing: a label that is unknown is refused as a whole."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return the labels and their counts as JSON values."""
        return {"kind": self.kind, "labels": list(self.labels), "counts": list(self.counts)}

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Collect and count the labels.

        Args:
            chunks: One label each.
            size: Ignored.

        Raises:
            TextError: There is only one label, or more than 65,536.
        """
        found = Counter[str]()
        for label in chunks:
            found[label] += 1
            if len(found) > MAX_LABELS:
                hint = "If these are texts, say text instead of label."
                raise TextError(f"There are more than {MAX_LABELS:,} different labels.", hint)
        if len(found) < 2:
            named = "".join(f", {label!r}" for label in found)
            raise TextError(f"There is only one label{named}: there is nothing to learn.")
        labels = tuple(sorted(found))
        return cls(labels, tuple(found[label] for label in labels))

    def extended(self, others: Iterable[str]) -> "LabelTokenizer":
        """Return this tokenizer with more labels, which count as if each had occurred once.

        So a rare label that occurs only among the held-out examples has a symbol, too.
        """
        counts = dict.fromkeys(others, 1) | dict(zip(self.labels, self.counts, strict=True))
        return LabelTokenizer(*zip(*sorted(counts.items()), strict=True))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned, checking everything.

        Raises:
            ModelFileError: An entry is missing, unknown, or of the wrong type.
        """
        labels, counts = values.get("labels"), values.get("counts")
        if (
            values.keys() != {"kind", "labels", "counts"}
            or not (isinstance(labels, list) and isinstance(counts, list))
            or not all(isinstance(label, str) for label in labels)
            or not all(type(count) is int and count > 0 for count in counts)
            or not 2 <= len(labels) == len(counts) == len(set(labels)) <= MAX_LABELS
        ):
            raise ModelFileError("The labels of the model, or their counts, are not valid.")
        return cls(tuple(labels), tuple(counts))


@dataclass(frozen=True)
class LabelDecoder:
    """Maps each id to its label, and holds nothing back."""

    labels: tuple[str, ...]

    def feed(self, symbol: int) -> str:
        """Return the label of an id."""
        return self.labels[symbol]

    def flush(self) -> str:
        """Return an empty string: nothing is held back."""
        return ""
