"""What `charrnn train` reads, divided into what trains and what validates before anything is learned from it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.commands.train_options import TrainOptions
from charrnn.data.records import cut_records, separator_of, survey
from charrnn.data.split import cut, training_part
from charrnn.data.text import Text, read_texts
from charrnn.errors import UsageError
from charrnn.terminal.training_progress import TrainingView

if TYPE_CHECKING:
    from charrnn.terminal.reading_progress import ReadingView

Open = Callable[[str], tuple[Iterator[str], Iterator[str]]]


@dataclass(frozen=True)
class Division:
    """A text divided into what trains and what validates.

    Attributes:
        name: Short name of the text.
        sha256: SHA-256 that stands for both parts.
        train: Characters of the training part.
        open: Begins to read the parts, given what the reading is for; the first is to be read
            before the second.
        separator: What ends a record, if the text consists of records; the parts are read record by
            record then.
    """

    name: str
    sha256: str
    train: int
    open: Open
    separator: str | None = None


def read_text(paths: Sequence[str], encoding: str, view: TrainingView) -> Text:
    """Read a text and show what there is to know about the reading."""
    with view.reading() as reading:
        text = read_texts(paths, encoding=encoding, watch=reading.measured)
    for note in text.notes:
        view.say(note)
    return text


def divide(
    options: TrainOptions, text: Text, view: TrainingView, reading: "ReadingView"
) -> Division:
    """Divide the text before anything is learned from it."""
    if options.valid and "valid_fraction" in options.settings:
        raise UsageError(
            "--valid and --valid-fraction both say what validates.", "Give one of them."
        )
    valid, sha256 = None, text.sha256
    if options.valid:
        valid = read_text(options.valid, options.encoding, view)
        sha256 = hashlib.sha256(f"{text.sha256}{valid.sha256}".encode()).hexdigest()
    fraction, separator = (
        options.settings.get("valid_fraction", 0.1),
        separator_of(options.settings.get("records")),
    )
    if separator is not None:
        length, parts = divide_records(text, valid, fraction, separator, view, reading)
        return Division(text.name, sha256, length, parts, separator)
    if valid is None:
        length = training_part(text.characters, fraction)
        return Division(
            text.name, sha256, length, lambda why: cut(reading.passing(why, text), length)
        )
    return Division(
        text.name,
        sha256,
        text.characters,
        lambda why: (reading.passing(why, text), reading.passing(why, valid)),
    )


def divide_records(
    text: Text,
    valid: Text | None,
    fraction: float,
    separator: str,
    view: TrainingView,
    reading: "ReadingView",
) -> tuple[int, Open]:
    """Divide a text into records that train and records that validate, these from a text of their own if there is one.

    Returns:
        Characters of the training part, and what begins to read both.
    """
    found = survey(reading.passing("Finding the records", text), separator, text.name)
    if found.blank:
        view.say(f"Left out {found.blank:,} blank record{'s' if found.blank > 1 else ''}.")
    if valid is not None:
        return found.characters, lambda why: (
            cut_records(reading.passing(why, text), separator),
            cut_records(reading.passing(why, valid), separator),
        )
    sides = found.divided(fraction)
    return sides.train, lambda why: (
        sides.training(reading.passing(why, text)),
        sides.validating(reading.passing(why, text)),
    )
