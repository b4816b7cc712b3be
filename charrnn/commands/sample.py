"""`charrnn sample`: let a model write."""

import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import console
from charrnn.api import Model, load
from charrnn.errors import TextError, UsageError
from charrnn.files import shown
from charrnn.sampling import DRAWING, Sample, SamplingConfig


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What `charrnn sample` was asked; `settings` are fields of `SamplingConfig`, those that were given."""

    prompt: str
    prompt_file: Path | None
    settings: dict[str, Any]
    seed: int | None
    num: int
    beam: int | None
    echo: bool
    interactive: bool
    as_json: bool


def sample(path: Path, options: SampleOptions) -> None:
    """Write new text to standard output, as it is made."""
    refuse_contradictions(options)
    model, prompt = load(path), read_prompt(options.prompt, options.prompt_file)
    if options.interactive:
        from charrnn.commands.interactive import converse

        seed = drawn_seed(options)
        tell_seed(options, seed)
        converse(model, prompt, options.settings, seed)
    elif options.beam is not None:
        found = model.search(prompt, beam=options.beam, num=options.num, **options.settings)
        write_samples(model, prompt, options, found, {"beam": options.beam})
    elif options.as_json:
        seed = drawn_seed(options)
        samples = model.samples(prompt, num=options.num, seed=seed, **options.settings)
        tell_seed(options, seed)
        write_samples(model, prompt, options, list(samples), {"seed": seed})
    else:
        seed = drawn_seed(options)
        texts = model.stream_many(prompt, num=options.num, seed=seed, **options.settings)
        tell_seed(options, seed)  # all that was asked is checked by now
        write_texts(texts, prompt if options.echo else "", numbered=options.num > 1)


def refuse_contradictions(options: SampleOptions) -> None:
    """Raise `UsageError` at options that do not go together."""
    if options.prompt_file is not None and options.prompt:
        raise UsageError("PROMPT and --prompt-file both say what to go on from.", "Give one of them.")
    if options.beam is not None and options.seed is not None:
        raise UsageError("--beam looks for the likeliest text and draws nothing: --seed has no meaning with it.")
    if options.interactive:
        given = {"--json": options.as_json, "--beam": options.beam is not None, "--num": options.num != 1}
        for flag in (flag for flag, is_given in given.items() if is_given):
            raise UsageError(f"--interactive writes one text as you type, and {flag} has no meaning with it.")
        if options.prompt == "-":
            raise UsageError("--interactive reads what you type from standard input, so the prompt cannot come there.")


def drawn_seed(options: SampleOptions) -> int:
    """Return the seed that was given, or a new one."""
    return secrets.randbelow(1 << 32) if options.seed is None else options.seed


def tell_seed(options: SampleOptions, seed: int) -> None:
    """Show the seed if it was drawn, so that the text can be had again."""
    if options.seed is None:
        console.show_note(f"--seed {seed}")


def write_texts(texts: Iterable[Iterable[str]], prompt: str, *, numbered: bool) -> None:
    """Write texts as they are made, each after the prompt."""
    for number, pieces in enumerate(texts, 1):
        console.write_text(f"--- {number} ---\n{prompt}" if numbered else prompt)
        for piece in pieces:
            console.write_text(piece)
        console.write_text("\n")


def write_samples(
    model: Model, prompt: str, options: SampleOptions, samples: list[Sample], how: dict[str, int]
) -> None:
    """Write texts that are complete, as they are or with all that is known about them."""
    if not options.as_json:
        write_texts(([one.text] for one in samples), prompt if options.echo else "", numbered=options.num > 1)
        return
    decode = model.tokenizer.decode
    told = [
        {"text": one.text, "tokens": [decode([i]) for i in one.ids], "log_probs": list(one.log_probs)}
        for one in samples
    ]
    settings = SamplingConfig(**options.settings).to_dict()
    settings = {name: value for name, value in settings.items() if options.beam is None or name not in DRAWING}
    console.write_json({"prompt": prompt, "samples": told, "model": model.saved.sha256, "settings": settings, **how})


def read_prompt(prompt: str, path: Path | None = None) -> str:
    """Return the prompt: what was given, or what standard input ("-") or a file holds, as it is."""
    if path is None and prompt != "-":
        return prompt
    if path is None and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt itself instead of '-'.")
    try:
        raw = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise TextError(f"Cannot read the prompt in {shown(path or Path('-'))}: {error.strerror or error}.") from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = "on standard input" if path is None else f"in {shown(path)}"
        where = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise TextError(f"The prompt {place} is not UTF-8: {where}.") from None
