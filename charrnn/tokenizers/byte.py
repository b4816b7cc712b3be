"""UTF-8 bytes as symbols: 256 of them encode any text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from charrnn.errors import TextError
from charrnn.tokenizers.base import Ids, to_bytes
from charrnn.tokenizers.byte_fallback import BYTES, ByteFallbackTokenizer, check_entries


@dataclass(frozen=True)
class ByteTokenizer(ByteFallbackTokenizer):
    """One id per byte: its value."""

    kind: ClassVar[str] = "byte"
    spellings: ClassVar[tuple[bytes, ...]] = BYTES

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Check the text; there is nothing to learn. See `Tokenizer.train`."""
        if not sum(len(to_bytes(chunk)) for chunk in chunks):
            raise TextError("There is nothing to learn from: the text is empty.")
        return cls()

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the bytes of each piece; see `Tokenizer.encode_chunks`."""
        for chunk in chunks:
            yield np.frombuffer(to_bytes(chunk), np.uint8).astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the kind, which is all there is to store."""
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned; see `Tokenizer.from_dict`."""
        check_entries(values, cls.kind)
        return cls()
