"""`charrnn tokenize`: how a model splits a text into symbols."""

import codecs
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.api import load
from charrnn.config.fields import argument, option
from charrnn.data.lines import READ_SIZE
from charrnn.errors import TextError, UsageError, counted
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.request import MODEL
from charrnn.terminal.console import show_note, write_coloured
from charrnn.terminal.escape import visible_line
from charrnn.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizeOptions:
    """The options of `charrnn tokenize`."""

    model: Path = argument(MODEL, "MODEL")
    text: str | None = argument(
        "The text itself; - or nothing reads it from standard input", "TEXT", None
    )
    json: bool = option(False, "Write the result as one JSON object")


@dataclass(frozen=True)
class Token:
    """One symbol of a text.

    Attributes:
        id: Its id.
        text: What it stands for; the character in the text if that is unknown to the model.
        part: Its bytes if they are only a part of a character; empty otherwise.
        unknown: Whether the model does not know it.
    """

    id: int
    text: str
    part: bytes = b""
    unknown: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the symbol as JSON values."""
        values: dict[str, Any] = {"id": self.id, "text": self.text}
        if self.part:
            values["bytes"] = self.part.hex()
        return values | ({"unknown": True} if self.unknown else {})

    def shown(self) -> str:
        r"""Return it with everything visible: newlines as \n, parts of characters as <0xe2>."""
        if self.part:
            return "".join(f"<0x{value:02x}>" for value in self.part)
        return visible_line(self.text)


def tokenize(options: TokenizeOptions) -> None:
    """Show how a model splits a text into symbols."""
    saved = load(options.model).saved
    tokenizer, characters, count = saved.tokenizer, 0, 0

    def read_counted() -> Iterator[str]:
        nonlocal characters
        for chunk in chunks_of(options.text):
            characters += len(chunk)
            yield chunk

    batches = tokens_of(tokenizer, read_counted())
    if options.json:
        written = write_as_json(model_facts(str(options.model), saved), batches)
    else:
        written = write_as_lines(batches)
    for tokens in written:
        count += len(tokens)
    symbols = counted(count, f"{tokenizer.kind} symbol")
    show_note(f"{symbols} for {counted(characters, 'character')}")


def chunks_of(text: str | None) -> Iterator[str]:
    """Yield the text that was given, or standard input as it can be read."""
    if text is not None and text != "-":
        yield text
        return
    if sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the text itself instead of '-'.")
    decoder, count = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        stream: Any = sys.stdin.buffer
        while data := stream.read1(READ_SIZE):
            yield decoder.decode(data)
            count += len(data)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} after offset {count:,}"
        raise TextError(f"The text on standard input is not UTF-8: {byte}.") from None


def write_as_json(model: dict[str, Any], batches: Iterable[list[Token]]) -> Iterator[list[Token]]:
    """Write symbols as a JSON list in an object with the facts about the model, and yield them."""
    head = json.dumps({"model": model}, ensure_ascii=False).removesuffix("}") + ', "tokens": ['
    before = head  # written with the first symbol, so that nothing is if there is an error
    for tokens in batches:
        for token in tokens:
            sys.stdout.write(before + json.dumps(token.to_dict(), ensure_ascii=False))
            before = ", "
        sys.stdout.flush()
        yield tokens
    sys.stdout.write(f"{head if before == head else ''}]}}\n")


def write_as_lines(batches: Iterable[list[Token]]) -> Iterator[list[Token]]:
    """Write symbols in colours, or else one a line, and yield them."""
    for tokens in batches:
        if not write_coloured([(token.shown(), token.unknown) for token in tokens]):
            for token in tokens:
                mark = "  (unknown)" if token.unknown else ""
                sys.stdout.write(f"{token.id}\t{token.shown()}{mark}\n")
        sys.stdout.flush()
        yield tokens


def tokens_of(tokenizer: Tokenizer, chunks: Iterable[str]) -> Iterator[list[Token]]:
    """Yield the symbols of a text that comes in pieces, as soon as they are certain."""
    waiting = deque[str]()  # only a tokenizer with one symbol a character has an unknown one

    def noted() -> Iterator[str]:
        for chunk in chunks:
            if tokenizer.unknown is not None:
                waiting.append(chunk)
            yield chunk

    for ids in tokenizer.encode_chunks(noted()):
        text = waiting.popleft() if waiting else ""
        symbols = enumerate(ids.tolist())
        yield [_token(tokenizer, id_, text[place : place + 1]) for place, id_ in symbols]


def _token(tokenizer: Tokenizer, id_: int, character: str) -> Token:
    if id_ == tokenizer.unknown:
        return Token(id_, character, unknown=True)
    spelling = tokenizer.spell(id_)
    piece = spelling.decode(errors="replace")
    return Token(id_, piece, b"" if piece.encode() == spelling else spelling)
