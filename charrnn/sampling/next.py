"""The likeliest next symbols after a text."""

from dataclasses import dataclass
from typing import Any

from charrnn.config.fields import check_number
from charrnn.sampling.decoding import prefill, text_start
from charrnn.sampling.generate import Generator, encode_prompt
from charrnn.sampling.logits import check_finite, log_softmax, rank


@dataclass(frozen=True)
class NextSymbol:
    """A symbol that may come next.

    Attributes:
        id: Its id.
        text: What it stands for; U+FFFD for the unknown symbol and for parts of characters.
        log_prob: The natural logarithm of its probability.
        unknown: Whether it is the unknown symbol.
    """

    id: int
    text: str
    log_prob: float
    unknown: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dict(vars(self))


def next_symbols(
    generator: Generator, prompt: str, *, top: int = 10, unknown: str = "error"
) -> list[NextSymbol]:
    """Return the `top` likeliest symbols after a prompt, the likeliest first.

    Args:
        generator: The model and its tokenizer.
        prompt: The text so far; empty asks for the first symbol of a text.
        top: How many, at least 1; there may be fewer symbols.
        unknown: What to do with unknown characters; see `encode_prompt`.

    Raises:
        UsageError: `top` is out of range.
        TextError: The prompt has characters that the model does not know.
    """
    check_number("top", top, low=1)
    model, tokenizer = generator.model, generator.tokenizer
    state = prefill(model, text_start(model), encode_prompt(tokenizer, prompt, unknown))
    logits, _ = model.step(*state)
    (predicted,) = log_softmax(check_finite(logits))
    return [
        NextSymbol(id_, tokenizer.decode([id_]), float(predicted[id_]), id_ == tokenizer.unknown)
        for id_ in rank(predicted)[:top].tolist()
    ]
