r"""Tokenizers as tables, from which `tokenizer.js` makes them again.

A table has the kind and, by kind,

    char             characters: the known ones, in the order of their ids, from 1 on
    byte             nothing more
    word             symbols: those from id 256 on; characters: how many of the first of them spell;
                     pattern: a regular expression that cuts a text into units
    bpe, unigram     symbols, and the score of each; pattern: cuts a text into spans
"""

from typing import Any

from charrnn.tokenizers import CharTokenizer, Tokenizer
from charrnn.tokenizers.byte import ByteTokenizer
from charrnn.tokenizers.subword import SPAN, SentencePieceTokenizer
from charrnn.tokenizers.word import WordTokenizer, unit_pattern

# What Python's \s matches; JavaScript's differs in four characters.
WHITE_SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def tokenizer_table(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a tokenizer as JSON values."""
    table: dict[str, Any] = {"kind": tokenizer.kind}
    if isinstance(tokenizer, CharTokenizer):
        return table | {"characters": tokenizer.characters}
    if isinstance(tokenizer, ByteTokenizer):
        return table
    table["symbols"] = [tokenizer.spell(id_).decode() for id_ in range(256, tokenizer.size)]
    if isinstance(tokenizer, WordTokenizer):
        in_class = unit_pattern().pattern.replace(r"\s]", f"{WHITE_SPACE}]")
        pattern = in_class.removesuffix(r"\s") + f"[{WHITE_SPACE}]"
        return table | {"characters": len(tokenizer.characters), "pattern": pattern}
    assert isinstance(tokenizer, SentencePieceTokenizer)
    scores = tokenizer.scores[256:]
    return table | {"pattern": SPAN.pattern, "scores": list(scores)}
