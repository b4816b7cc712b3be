"""`charrnn sample`: let a model write."""

import sys
from collections.abc import Iterable
from pathlib import Path

from charrnn.api import Model, load
from charrnn.commands.records import sample_records
from charrnn.commands.sample_options import (
    SampleOptions,
    describe,
    drawn_seed,
    refuse_contradictions,
    refuse_unsuitable,
    tell_seed,
)
from charrnn.errors import TextError, UsageError
from charrnn.sampling import Sample
from charrnn.storage.atomic import shown
from charrnn.terminal import console


def sample(path: Path, options: SampleOptions) -> None:
    """Write new text to standard output, as it is made."""
    refuse_contradictions(options)
    model, prompt = load(path), read_prompt(options.prompt, options.prompt_file)
    refuse_unsuitable(model, options)
    if model.separator is not None:
        sample_records(model, prompt, options)
    elif options.interactive:
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
        write_texts(
            ([one.text] for one in samples),
            prompt if options.echo else "",
            numbered=options.num > 1,
        )
        return
    console.write_json(describe(model, prompt, options, samples) | how)


def read_prompt(prompt: str, path: Path | None = None) -> str:
    """Return the prompt: what was given, or what standard input ("-") or a file holds, as it is."""
    if path is None and prompt != "-":
        return prompt
    if path is None and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt itself instead of '-'.")
    try:
        raw = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise TextError(
            f"Cannot read the prompt in {shown(path or Path('-'))}: {error.strerror or error}."
        ) from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = "on standard input" if path is None else f"in {shown(path)}"
        where = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise TextError(f"The prompt {place} is not UTF-8: {where}.") from None
