"""`charrnn sample`: let a model write."""

import secrets
import sys
from pathlib import Path
from typing import Any

from charrnn import console
from charrnn.api import Model, load
from charrnn.commands.records import RecordOptions, sample_records
from charrnn.errors import TextError, UsageError


def sample(
    model: Path,
    prompt: str,
    settings: dict[str, Any],
    records: RecordOptions,
    *,
    seed: int | None,
    num: int,
    as_json: bool,
) -> None:
    """Write new text to standard output, as it is made."""
    loaded = load(model)
    check_num(num, loaded, records)
    prompt = read_prompt() if prompt == "-" else prompt
    drawn = secrets.randbelow(1 << 32) if seed is None else seed
    if drawn < 0:
        raise UsageError(f"--seed must be at least 0, not {drawn}.")
    pieces = loaded.stream(prompt, seed=drawn, **settings)  # nothing is written before all that was asked is checked
    if seed is None:
        console.show_note(f"--seed {drawn}")
    if loaded.separator is not None:
        sample_records(loaded, prompt, settings, records, seed=drawn, num=num, as_json=as_json)
    elif as_json:
        texts = loaded.generate_many(prompt, num=num, seed=drawn, **settings)
        console.write_json({"prompt": prompt, "texts": texts, "seed": drawn, "model": loaded.saved.sha256})
    elif num == 1:
        console.write_text(prompt)
        for piece in pieces:
            console.write_text(piece)
        console.write_text("\n")
    else:
        for number, text in enumerate(loaded.generate_many(prompt, num=num, seed=drawn, **settings), 1):
            console.write_text(f"--- {number} ---\n{prompt}{text}\n")


MOST_SAMPLES = 65_536


def check_num(num: int, model: Model, records: RecordOptions) -> None:
    """Raise `UsageError` if so many texts cannot be written side by side, or such a model writes no records."""
    if num < 1 or (num > MOST_SAMPLES and model.separator is None):
        raise UsageError(f"--num must be at least 1 and at most {MOST_SAMPLES:,}, not {num}.")
    if records.training_text is not None and model.separator is None:
        raise UsageError("--training-text is for models of records.", "Train one with charrnn train --records lines.")


def read_prompt() -> str:
    """Read a prompt from standard input, as it is."""
    if sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt itself instead of '-'.")
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise TextError(f"The prompt on standard input is not UTF-8: {where}.") from None
