"""Tokenizers: one file each, listed in `KINDS`. `Tokenizer` describes what each offers."""

from collections.abc import Iterable
from typing import Any

from charrnn.errors import ModelFileError, UsageError
from charrnn.tokenizers.base import Decoder, Tokenizer
from charrnn.tokenizers.byte import ByteTokenizer
from charrnn.tokenizers.char import CharTokenizer
from charrnn.tokenizers.label import LabelTokenizer
from charrnn.tokenizers.subword import BpeTokenizer, UnigramTokenizer
from charrnn.tokenizers.word import WordTokenizer

KINDS: dict[str, type[Tokenizer]] = {
    "char": CharTokenizer,
    "byte": ByteTokenizer,
    "word": WordTokenizer,
    "bpe": BpeTokenizer,
    "unigram": UnigramTokenizer,
}
FIXED_SIZE = ("char", "byte")  # kinds whose vocabulary size cannot be chosen

__all__ = [
    "FIXED_SIZE",
    "KINDS",
    "CharTokenizer",
    "Decoder",
    "LabelTokenizer",
    "Tokenizer",
    "tokenizer_from_dict",
    "train_tokenizer",
]


def train_tokenizer(kind: str, chunks: Iterable[str], size: int | None = None) -> Tokenizer:
    """Learn a tokenizer from a text that comes in pieces.

    Args:
        kind: A key of `KINDS`.
        chunks: The training part only, so that characters that occur only elsewhere are unknown.
        size: Vocabulary size; None chooses one that suits the text.

    Raises:
        UsageError: There is no such kind, or `size` does not suit the kind or the text.
        TextError: The text cannot be used.
    """
    if kind not in KINDS:
        raise UsageError(
            f"`tokenizer` must be one of {', '.join(KINDS)}, not {kind!r}.",
            meant=(kind, KINDS),
        )
    if size is not None and kind in FIXED_SIZE:
        others = ", ".join(name for name in KINDS if name not in FIXED_SIZE)
        raise UsageError(
            f"`vocab_size` cannot be used with `tokenizer` {kind}.", f"It is for {others}."
        )
    return KINDS[kind].train(chunks, size)


def tokenizer_from_dict(values: Any) -> Tokenizer:
    """Rebuild a tokenizer from what its `to_dict` returned, checking everything.

    Raises:
        ModelFileError: `values` does not describe a tokenizer of this version.
    """
    if not isinstance(values, dict):
        raise ModelFileError(
            f"The tokenizer should be a table, but is of type {type(values).__name__}."
        )
    kind = values.get("kind")
    if kind == LabelTokenizer.kind:
        return LabelTokenizer.from_dict(values)
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        raise ModelFileError(
            f"The tokenizer is of kind {repr(kind)[:40]}; this version knows {known}.",
            "The model may have been made by a newer charrnn: pip install -U charrnn",
        )
    return KINDS[kind].from_dict(values)
