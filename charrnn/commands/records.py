"""`charrnn sample` with a model that was trained on records: whole records, until there are enough."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from charrnn import console
from charrnn.api import Model
from charrnn.corpus import read_texts
from charrnn.errors import UsageError
from charrnn.records import cut_records

MARK = "\t(in the training text)"


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What `charrnn sample` was asked about records.

    Attributes:
        training_text: The text whose records are marked when the model writes them; None marks none.
        novel: Leave them out instead.
    """

    training_text: str | None = None
    novel: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` if there is nothing to tell the new from."""
        if self.novel and self.training_text is None:
            raise UsageError("--novel leaves out what the training text has.", "Name it with --training-text FILE.")


def sample_records(
    model: Model, prompt: str, settings: dict[str, Any], options: RecordOptions, *, seed: int, num: int, as_json: bool
) -> None:
    """Write records to standard output as they are made, in the form that the training text has."""
    separator, known = model.separator or "", known_records(model, options)
    left_out = known if options.novel else frozenset[str]()
    records = model.records(prompt, num=num, seed=seed, known=left_out, **settings)
    if num == 1 and not as_json and not known and "stop" not in settings:  # nothing to wait for: write it as it is made
        for piece in chain([prompt], model.stream(prompt, seed=seed, **settings), [separator, line_end(separator)]):
            console.write_text(piece)
        return
    if as_json:
        texts = list(records)
        facts = {"prompt": prompt, "texts": [text.removeprefix(prompt) for text in texts], "seed": seed}
        marks = {"known": [text in known for text in texts]} if options.training_text is not None else {}
        console.write_json(facts | marks | {"model": model.saved.sha256})
        written = len(texts)
    else:
        written = write_records(records, known, separator)
    if written < num:
        console.show_note(f"Only {written:,} of {num:,} records: all others that it wrote are in the training text.")


def write_records(records: Iterator[str], known: frozenset[str], separator: str) -> int:
    """Write records, each with its separator, and return how many they were."""
    written = 0
    for record in records:
        console.write_text(f"{record}{MARK if record in known else ''}{separator}")
        written += 1
    console.write_text(line_end(separator) if written else "")
    return written


def line_end(separator: str) -> str:
    """Return what the last record lacks to end its line."""
    return "" if separator.endswith("\n") else "\n"


def known_records(model: Model, options: RecordOptions) -> frozenset[str]:
    """Return the records of the training text, without their separators."""
    if options.training_text is None or model.separator is None:
        return frozenset()
    text = read_texts([options.training_text]).text
    return frozenset(record.removesuffix(model.separator) for record in cut_records(text, model.separator))
