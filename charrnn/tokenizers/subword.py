"""Pieces of words that sentencepiece finds, by byte pair encoding or a unigram language model.

    Kudo and Richardson 2018, SentencePiece
    Sennrich, Haddow and Birch 2016, byte pair encoding
    Kudo 2018, unigram

By default, sentencepiece changes a text: it merges spaces, turns line feeds into spaces, applies
NFKC and skips long lines. Here it gets spans of about 500 characters, line feeds included, and is
told to leave them as they are. Each span's pieces are joined and compared with the span, and where
they differ, the span is spelled in bytes. So every text is decoded exactly, whatever the model is.
"""

import base64
import binascii
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError, TextError, UsageError, counted
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

COVERAGE = 0.9995  # fraction of a text's characters that can be in pieces; others become bytes
MAX_DEFAULT_SIZE = 1 << 14  # largest vocabulary that is chosen by default
MAX_MODEL = 1 << 25  # bytes of a sentencepiece model
SPACE = "\u2581"  # sentencepiece's character for a space, so it cannot represent it as itself
# Spans end before a space. Pieces have spaces only at their beginning, so none is cut apart.
SPAN = re.compile(r"[^\u2581]{512,2047}?(?=(?<! ) )|[^\u2581]{1,2048}|\u2581{1,64}")
RESERVED = "\0\u2581\u2585"  # characters that sentencepiece drops or gives a meaning of its own


@dataclass(frozen=True)
class SentencePieceTokenizer(ByteFallbackTokenizer):
    """What both kinds of sentencepiece models share.

    Ids are the 256 bytes, then single characters, then pieces in sentencepiece's own order. BPE
    puts characters last, but frequent symbols should come first; see
    `charrnn.model.adaptive_softmax`.

    Attributes:
        sample: Most characters to train on.
        model: The serialised sentencepiece model.
    """

    sample: ClassVar[int]
    model: bytes

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Train sentencepiece on a sample of the text; see `Tokenizer.train`.

        If `size` is None, it is `default_size`, or less if the text cannot fill that.
        """
        blocks, length = spread_sample(chunks, cls.sample)
        text = "".join(blocks)
        if not text:
            raise TextError("There is nothing to learn a vocabulary from: the text is empty.")
        wanted = default_size(length, 2, MAX_DEFAULT_SIZE) if size is None else size
        if wanted <= len(BYTES):
            raise UsageError(
                f"`vocab_size` must be more than {len(BYTES)} for {cls.kind}, not {size}."
            )
        tokenizer = cls(train_sentencepiece(cls.kind, text, wanted))
        check_filled(size, tokenizer.size, cls.kind)
        return tokenizer

    @cached_property
    def spellings(self) -> tuple[bytes, ...]:
        """The bytes of each id."""
        return tuple(self._piece_bytes[piece] for piece in np.argsort(self._ids_of_pieces)[1:])

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """Sentencepiece's score of each id; it prefers pieces of a high score."""
        order = np.argsort(self._ids_of_pieces)[1:].tolist()
        return tuple(self._processor.get_score(order))

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text in pieces; see `Tokenizer.encode_chunks`."""
        for spans in find_matches(chunks, SPAN):
            pieces = np.fromiter(self._encode_spans(spans), np.int32)
            yield self._ids_of_pieces[pieces].astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned; see `Tokenizer.from_dict`."""
        check_entries(values, cls.kind, "model")
        try:
            model = base64.b64decode(values["model"], validate=True)
        except (ValueError, binascii.Error) as error:
            raise ModelFileError(f"The {cls.kind} tokenizer's model is not base64.") from error
        if not 0 < len(model) <= MAX_MODEL or base64.b64encode(model).decode() != values["model"]:
            raise ModelFileError(
                f"The {cls.kind} tokenizer's model has {len(model):,} bytes; "
                f"1 to {MAX_MODEL:,} are allowed."
            )
        tokenizer = cls(model)
        tokenizer._check()
        return tokenizer

    @cached_property
    def _processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_proto=self.model)

    def _check(self) -> None:
        """Raise `ModelFileError` unless `train_sentencepiece` could have written the model."""
        try:
            processor = self._processor
            size = processor.vocab_size()
            signs = [processor.id_to_piece(id_) for id_ in range(min(size, 1 + len(BYTES)))]
            odd = [id_ for id_ in range(1, size) if processor.is_byte(id_) != (id_ <= len(BYTES))]
            empty = not all(self._piece_bytes[1:])
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelFileError(f"The {self.kind} tokenizer's model is damaged.") from error
        if (
            size > MAX_SIZE
            or signs[1:] != [f"<0x{value:02X}>" for value in range(256)]
            or odd
            or empty
        ):
            raise ModelFileError(
                f"The {self.kind} tokenizer's model does not consist of the 256 bytes and pieces."
            )

    @cached_property
    def _piece_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each of sentencepiece's own ids; 0 is its unknown piece."""
        pieces = self._processor.id_to_piece(
            list(range(1 + len(BYTES), self._processor.vocab_size()))
        )
        return (b"", *BYTES, *(piece.replace(SPACE, " ").encode() for piece in pieces))

    @cached_property
    def _ids_of_pieces(self) -> NDArray[np.int64]:
        """Our id for each of sentencepiece's own ids; -1 for its unknown piece."""
        number = 1 + len(BYTES)
        long = [False] * number + [len(piece.decode()) > 1 for piece in self._piece_bytes[number:]]
        return np.argsort(np.argsort(long, kind="stable")) - 1

    def _encode_spans(self, spans: list[str]) -> Iterator[int]:
        """Yield sentencepiece's ids of some spans; a span that it cannot restore becomes bytes."""
        found = self._processor.encode(spans, num_threads=1)
        back = b"".join(map(self._piece_bytes.__getitem__, chain.from_iterable(found)))
        if back == "".join(spans).encode():
            yield from chain.from_iterable(found)
        elif len(spans) > 1:
            for span in spans:
                yield from self._encode_spans([span])
        else:
            yield from (1 + value for value in spans[0].encode())


class BpeTokenizer(SentencePieceTokenizer):
    """Byte pair encoding: repeatedly merges the most frequent pair of symbols into a new one."""

    kind: ClassVar[str] = "bpe"
    sample: ClassVar[int] = 1 << 24


class UnigramTokenizer(SentencePieceTokenizer):
    """A unigram language model: encodes a text by its most probable segmentation.

    Its training is slower than BPE's, so its sample is a quarter as large.
    """

    kind: ClassVar[str] = "unigram"
    sample: ClassVar[int] = 1 << 22


def train_sentencepiece(kind: str, text: str, size: int) -> bytes:
    """Train a model of at most `size` symbols, the 256 bytes included; equal texts, equal models.

    Raises:
        TextError: The text is too small for sentencepiece to learn from.
    """
    from sentencepiece import SentencePieceTrainer

    counts = Counter(text)
    for sign in RESERVED:
        del counts[sign]
    characters = "".join(most_frequent(counts, COVERAGE)[: size - len(BYTES)])
    if not characters:
        raise TextError(
            f"The text is too small to train {kind} on: it has {counted(len(text), 'character')}."
        )
    known = (
        run
        for span in SPAN.findall(text)
        for run in re.findall(f"[{re.escape(characters)}]+", span)
    )
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=known,
            model_writer=model,
            model_type=kind,
            vocab_size=size + 1,  # plus its unknown piece, which is required but never used
            hard_vocab_limit=False,
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            bos_id=-1,
            eos_id=-1,
            max_sentence_length=1 << 30,
            num_threads=1,
            minloglevel=4,
        )
    except (RuntimeError, ValueError) as error:
        raise TextError(
            f"The text is too small to train {kind} on: it has {counted(len(text), 'character')}."
        ) from error
    return model.getvalue()
