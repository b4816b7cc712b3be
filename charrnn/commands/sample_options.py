"""What `charrnn sample` was asked, what of it goes together, and what is told of a text besides."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.api import Model
from charrnn.errors import UsageError
from charrnn.sampling import DRAWING, Sample, SamplingConfig
from charrnn.terminal import console


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What `charrnn sample` was asked.

    `settings` are fields of `SamplingConfig`, those that were given.
    """

    prompt: str
    prompt_file: Path | None
    settings: dict[str, Any]
    seed: int | None
    num: int
    beam: int | None
    echo: bool
    interactive: bool
    training_text: str | None
    novel: bool
    as_json: bool


def refuse_contradictions(options: SampleOptions) -> None:
    """Raise `UsageError` at options that do not go together."""
    if options.prompt_file is not None and options.prompt:
        raise UsageError(
            "PROMPT and --prompt-file both say what to go on from.", "Give one of them."
        )
    if options.beam is not None and options.seed is not None:
        raise UsageError(
            "--beam looks for the likeliest text and draws nothing: --seed has no meaning with it."
        )
    if options.novel and options.training_text is None:
        raise UsageError(
            "--novel leaves out what the training text has.", "Name it with --training-text FILE."
        )
    if options.novel and options.beam is not None:
        raise UsageError(
            "--novel writes until there are enough new records; --beam finds the likeliest, new or not."
        )
    if options.interactive:
        given = {
            "--json": options.as_json,
            "--beam": options.beam is not None,
            "--num": options.num != 1,
        }
        for flag in (flag for flag, is_given in given.items() if is_given):
            raise UsageError(
                f"--interactive writes one text as you type, and {flag} has no meaning with it."
            )
        if options.prompt == "-":
            raise UsageError(
                "--interactive reads what you type from standard input, so the prompt cannot come there."
            )


def refuse_unsuitable(model: Model, options: SampleOptions) -> None:
    """Raise `UsageError` at options that do not suit what the model writes, records or one long text."""
    if model.separator is None and options.training_text is not None:
        raise UsageError(
            "--training-text is for models of records.",
            "Train one with charrnn train --records lines.",
        )
    if model.separator is not None and options.interactive:
        raise UsageError(
            "--interactive goes on with one long text, and this model writes records, each by itself."
        )


def drawn_seed(options: SampleOptions) -> int:
    """Return the seed that was given, or a new one."""
    return secrets.randbelow(1 << 32) if options.seed is None else options.seed


def tell_seed(options: SampleOptions, seed: int) -> None:
    """Show the seed if it was drawn, so that the text can be had again."""
    if options.seed is None:
        console.show_note(f"--seed {seed}")


def describe(
    model: Model, prompt: str, options: SampleOptions, samples: list[Sample]
) -> dict[str, Any]:
    """Return all that is known about texts as JSON values, but for how they were found."""
    decode = model.tokenizer.decode
    told = [
        {
            "text": one.text,
            "tokens": [decode([i]) for i in one.ids],
            "log_probs": list(one.log_probs),
        }
        for one in samples
    ]
    settings = SamplingConfig(**options.settings).to_dict()
    settings = {
        name: value
        for name, value in settings.items()
        if options.beam is None or name not in DRAWING
    }
    return {"prompt": prompt, "samples": told, "model": model.saved.sha256, "settings": settings}
