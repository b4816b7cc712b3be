"""Pieces of words that sentencepiece finds, by byte pair encoding or by a unigram language model.

    Kudo and Richardson 2018, SentencePiece; Sennrich, Haddow and Birch 2016, BPE; Kudo 2018,
    unigram

By default it changes a text: it merges spaces, turns line feeds into spaces, applies NFKC and skips
long lines. Here it is given spans of some 500 characters, line feeds and all, and told to leave
them as they are. What it cannot represent nevertheless is spelled in bytes: each span's pieces are
put together again and compared with it. So every text comes back, whatever is in it, and whatever
the model is.
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

from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.tokenizers.base import MAX_SIZE, Ids
from charrnn.tokenizers.byte_fallback import (
    BYTES,
    ByteFallbackTokenizer,
    check_entries,
    check_filled,
    cut,
    frequent,
    spread_sample,
    usual_size,
)

COVERAGE = 0.9995  # share of a text's characters that may be parts of pieces; the rarest are spelled in bytes
LARGEST = 1 << 14  # vocabulary that is chosen by itself
MAX_MODEL = 1 << 25  # bytes of a sentencepiece model
SPACE = "\u2581"  # sentencepiece's sign for a space, so that it cannot represent the sign itself
# Spans end before a space: no piece goes on from something else to a space, so nothing is lost by
# cutting there.
SPAN = re.compile(r"[^\u2581]{512,2047}?(?=(?<! ) )|[^\u2581]{1,2048}|\u2581{1,64}")
RESERVED = "\0\u2581\u2585"  # sentencepiece drops the text that these are in, or takes them for signs of its own


@dataclass(frozen=True)
class PieceTokenizer(ByteFallbackTokenizer):
    """What both kinds share.

    Ids are the 256 bytes, single characters, and then pieces in sentencepiece's own order.

    BPE puts characters last, but frequent symbols should come first: see
    `charrnn.model.adaptive_softmax`.

    Attributes:
        model: The sentencepiece model, as it serialises itself.
    """

    sample: ClassVar[int]
    model: bytes

    @classmethod
    def train(cls, chunks: Iterable[str], size: int | None = None) -> Self:
        """Train sentencepiece on a sample of the text, of `sample` characters at most.

        See `Tokenizer.train`.

        If `size` is None, it is what suits the text's length (`usual_size`), or what the text can
        fill if that is less.
        """
        blocks, length = spread_sample(chunks, cls.sample)
        text = "".join(blocks)
        if not text:
            raise TextError("There is nothing to learn a vocabulary from: the text is empty.")
        wanted = usual_size(length, 2, LARGEST) if size is None else size
        if wanted <= len(BYTES):
            raise UsageError(
                f"`vocab_size` must be more than {len(BYTES)} for {cls.kind}, not {size}."
            )
        tokenizer = cls(train_sentencepiece(cls.kind, text, wanted))
        check_filled(size, tokenizer.size, cls.kind)
        return tokenizer

    @cached_property
    def spellings(self) -> tuple[bytes, ...]:
        """What each id stands for."""
        return tuple(self._table[id_] for id_ in np.argsort(self._ours)[1:])

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Ids]:
        """Yield the ids of a text in pieces; see `Tokenizer.encode_chunks`."""
        for spans in cut(chunks, SPAN):
            yield self._ours[np.fromiter(self._encoded(spans), np.int32)].astype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from what `to_dict` gave; see `Tokenizer.from_dict`."""
        check_entries(values, cls.kind, "model")
        try:
            model = base64.b64decode(values["model"], validate=True)
        except (ValueError, binascii.Error) as error:
            raise ModelFileError(f"The {cls.kind} tokenizer's model is not base64.") from error
        if not 0 < len(model) <= MAX_MODEL or base64.b64encode(model).decode() != values["model"]:
            raise ModelFileError(
                f"The {cls.kind} tokenizer's model has {len(model):,} bytes; {MAX_MODEL:,} can be."
            )
        tokenizer = cls(model)
        tokenizer._check()
        return tokenizer

    @cached_property
    def _processor(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_proto=self.model)

    def _check(self) -> None:
        """Raise `ModelFileError` unless the model is one that `train_sentencepiece` could have written."""
        try:
            processor = self._processor
            size = processor.vocab_size()
            signs = [processor.id_to_piece(id_) for id_ in range(min(size, 1 + len(BYTES)))]
            odd = [id_ for id_ in range(1, size) if processor.is_byte(id_) != (id_ <= len(BYTES))]
            empty = not all(self._table[1:])
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelFileError(f"The {self.kind} tokenizer's model is damaged.") from error
        if (
            size > MAX_SIZE
            or signs[1:] != [f"<0x{value:02X}>" for value in range(256)]
            or odd
            or empty
        ):
            raise ModelFileError(
                f"The {self.kind} tokenizer's model has not the 256 bytes and then pieces."
            )

    @cached_property
    def _table(self) -> tuple[bytes, ...]:
        """What each of sentencepiece's own ids stands for; 0 is its unknown piece."""
        pieces = self._processor.id_to_piece(
            list(range(1 + len(BYTES), self._processor.vocab_size()))
        )
        return (b"", *BYTES, *(piece.replace(SPACE, " ").encode() for piece in pieces))

    @cached_property
    def _ours(self) -> NDArray[np.int64]:
        """Our id of each of sentencepiece's; -1 is its unknown piece."""
        number = 1 + len(BYTES)
        long = [False] * number + [len(spelling.decode()) > 1 for spelling in self._table[number:]]
        return np.argsort(np.argsort(long, kind="stable")) - 1

    def _encoded(self, spans: list[str]) -> Iterator[int]:
        """Yield sentencepiece's ids of some spans, if they are what comes back.

        If not, it is tried with each alone.
        """
        found = self._processor.encode(spans, num_threads=1)
        back = b"".join(map(self._table.__getitem__, chain.from_iterable(found)))
        if back == "".join(spans).encode():
            yield from chain.from_iterable(found)
        elif len(spans) > 1:
            for span in spans:
                yield from self._encoded([span])
        else:
            yield from (1 + value for value in spans[0].encode())


class BpeTokenizer(PieceTokenizer):
    """Byte pair encoding: the pair that is the most frequent becomes a symbol, again and again."""

    kind: ClassVar[str] = "bpe"
    sample: ClassVar[int] = 1 << 24


class UnigramTokenizer(PieceTokenizer):
    """A unigram language model: of all ways to cut a text, the likeliest.

    Its training is slower, so on a quarter.
    """

    kind: ClassVar[str] = "unigram"
    sample: ClassVar[int] = 1 << 22


def train_sentencepiece(kind: str, text: str, size: int) -> bytes:
    """Train a model of at most `size` symbols, of which the first 256 are the bytes.

    Equal texts give equal models.

    Raises:
        TextError: There is nothing in the text that sentencepiece could learn from.
    """
    from sentencepiece import SentencePieceTrainer

    counts = Counter(text)
    for sign in RESERVED:
        del counts[sign]
    characters = "".join(frequent(counts, COVERAGE)[: size - len(BYTES)])
    if not characters:
        raise TextError(
            f"The text is too small to train {kind} on: it has {len(text):,} characters."
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
            vocab_size=size + 1,  # its unknown piece, which has to be, and is never used
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
            f"The text is too small to train {kind} on: it has {len(text):,} characters."
        ) from error
    return model.getvalue()
