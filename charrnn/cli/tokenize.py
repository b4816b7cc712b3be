"""`charrnn tokenize`: how a model splits a text into symbols."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.api import load
from charrnn.cli.sample_options import read_prompt
from charrnn.config.fields import argument, option
from charrnn.evaluation.request import MODEL
from charrnn.terminal.console import show_note, write_coloured, write_json
from charrnn.terminal.escape import visible_line
from charrnn.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizeOptions:
    """The options of `charrnn tokenize`."""

    model: Path = argument(MODEL, "MODEL")
    text: str | None = argument(
        "The text itself; - or nothing reads it from standard input", "TEXT", None
    )
    json: bool = option(False, "Write a JSON list of ids and texts")


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
    tokenizer = load(options.model).tokenizer
    text = read_prompt("-" if options.text is None else options.text)
    tokens = tokens_of(tokenizer, text)
    if options.json:
        write_json([token.to_dict() for token in tokens])
        return
    if not write_coloured([(token.shown(), token.unknown) for token in tokens]):
        for token in tokens:
            mark = "  (unknown)" if token.unknown else ""
            sys.stdout.write(f"{token.id}\t{token.shown()}{mark}\n")
    show_note(f"{len(tokens):,} {tokenizer.kind} symbols for {len(text):,} characters")


def tokens_of(tokenizer: Tokenizer, text: str) -> list[Token]:
    """Return the symbols of `text`."""
    tokens = list[Token]()
    for position, id_ in enumerate(tokenizer.encode(text).tolist()):
        spelling = tokenizer.spell(id_)
        if id_ == tokenizer.unknown:  # only a tokenizer with one symbol a character has this one
            tokens.append(Token(id_, text[position], unknown=True))
        else:
            piece = spelling.decode(errors="replace")
            tokens.append(Token(id_, piece, b"" if piece.encode() == spelling else spelling))
    return tokens
