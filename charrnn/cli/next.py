"""`charrnn next`: the likeliest next symbols after a text."""

import math
from dataclasses import dataclass
from pathlib import Path

from charrnn.api import load
from charrnn.cli.options import show_notes
from charrnn.cli.sample_options import read_prompt
from charrnn.config.blend import BlendConfig
from charrnn.config.fields import argument, option
from charrnn.config.sampling import UNKNOWN_MODES
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.request import MODEL_OR_BLEND
from charrnn.sampling.next import NextSymbol, next_symbols
from charrnn.terminal.console import write_json
from charrnn.terminal.escape import visible_line
from charrnn.terminal.tables import write_table

BAR = 40  # columns of a probability of 1


@dataclass(frozen=True, kw_only=True)
class NextOptions:
    """The options of `charrnn next`."""

    model: Path = argument(MODEL_OR_BLEND, "MODEL")
    prompt: str = argument("The text so far; - reads it from standard input", "PROMPT", default="")
    source: str | None = option(
        None, "What the text depends on: a text, a label or a picture's path", metavar="TEXT"
    )
    top: int = option(10, "How many symbols", flags=("--top", "-n"))
    unknown: str = option(
        "error",
        "What to do with characters of the prompt that the model does not know",
        choices=UNKNOWN_MODES,
    )
    blending: BlendConfig
    json: bool = option(False, "Write the result as one JSON object")


def likeliest(options: NextOptions) -> None:
    """Show the likeliest next symbols after a text, with their probabilities."""
    model, prompt = load(options.model, **options.blending.given), read_prompt(options.prompt)
    if options.source is not None:
        model = model.given(options.source, unknown=options.unknown)
    show_notes(model.saved.notes)
    symbols = next_symbols(model.generator, prompt, top=options.top, unknown=options.unknown)
    if options.json:
        facts = {"model": model_facts(str(options.model), model.saved), "prompt": prompt}
        write_json(facts | {"next": [one.to_dict() for one in symbols]})
    else:
        write_table([next_row(one) for one in symbols])


def next_row(one: NextSymbol) -> tuple[str, str]:
    """Return a symbol, and its probability in percent with a bar."""
    probability = math.exp(one.log_prob)
    shown = "(unknown)" if one.unknown else f"'{visible_line(one.text)}'"
    bar = "#" * round(BAR * probability)
    return shown, f"{probability:7.2%} {bar}".rstrip()
