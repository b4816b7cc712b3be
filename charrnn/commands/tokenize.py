"""`charrnn tokenize`: show how a text is cut into symbols."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.api import load
from charrnn.commands.sample import read_prompt
from charrnn.terminal import console
from charrnn.tokenizers import Tokenizer


@dataclass(frozen=True)
class Token:
    """One symbol of a text.

    Attributes:
        id: Its number.
        text: What it stands for, as far as that is text; of an unknown symbol, what stands there.
        part: Bytes that are only a part of a character; empty otherwise.
        unknown: The model has never seen it.
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


def tokenize(model: Path, text: str | None, *, as_json: bool) -> None:
    """Write a text's symbols: in colours on a terminal, and otherwise one on each line."""
    tokenizer = load(model).tokenizer
    text = read_prompt("-" if text is None else text)
    tokens = tokens_of(tokenizer, text)
    if as_json:
        console.write_json([token.to_dict() for token in tokens])
        return
    shown = [(token.id, shown_text(token), token.unknown) for token in tokens]
    if not console.write_coloured(shown):
        for id_, piece, unknown in shown:
            sys.stdout.write(f"{id_}\t{piece}{'  (unknown)' if unknown else ''}\n")
    console.show_note(f"{len(tokens):,} {tokenizer.kind} symbols for {len(text):,} characters")


def tokens_of(tokenizer: Tokenizer, text: str) -> list[Token]:
    """Cut `text` into its symbols."""
    tokens = list[Token]()
    for place, id_ in enumerate(tokenizer.encode(text).tolist()):
        spelling = tokenizer.spell(id_)
        if id_ == tokenizer.unknown:  # as there is in kinds with one symbol for each character only
            tokens.append(Token(id_, text[place], unknown=True))
        else:
            piece = spelling.decode(errors="replace")
            tokens.append(Token(id_, piece, b"" if piece.encode() == spelling else spelling))
    return tokens


def shown_text(token: Token) -> str:
    r"""Write a symbol so that all of it can be seen.

    Line feeds as \n, parts of characters as <0xe2>.
    """
    if token.part:
        return "".join(f"<0x{value:02x}>" for value in token.part)
    return (
        console.visible(token.text.replace("\\", "\\\\")).replace("\n", "\\n").replace("\t", "\\t")
    )
