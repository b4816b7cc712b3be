"""`charrnn eval`: score a text as a whole, or show where it surprises the model."""

from pathlib import Path

from charrnn.api import load
from charrnn.commands.detail import write_lines, write_tokens
from charrnn.commands.score import EvalOptions, read_parts, report


def evaluate(model: Path, options: EvalOptions) -> None:
    """Score a text, as a whole or in the view that was asked for."""
    learning = options.check()
    loaded = load(model)
    by_line = "by-line" in options.views
    parts = None if by_line else read_parts(options, loaded.separator)
    from charrnn.runtime.device import use_processor

    use_processor(options.threads)
    if parts is None:
        write_lines(loaded, options)
        return
    train, text = parts
    if options.views:
        write_tokens(loaded, text, options)
    else:
        report(loaded, train, text, learning, options)
