"""`charrnn sample` with a model that was trained on records.

Whole records, in the form that the training text has.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from charrnn.api import Model
from charrnn.commands.sample_options import SampleOptions, describe, drawn_seed, tell_seed
from charrnn.data.records import cut_records
from charrnn.data.text import read_texts
from charrnn.sampling import Sample
from charrnn.terminal import console

MARK = "\t(in the training text)"
NONE = frozenset[str]()


def sample_records(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write records to standard output, each as soon as it is made."""
    known, settings = known_records(model, options), options.settings
    separator, shown = model.separator or "", prompt if options.echo else ""
    end = "" if separator.endswith("\n") else "\n"  # what the last record lacks to end its line
    alone = options.num == 1 and options.beam is None and options.training_text is None
    if options.beam is not None:
        how = {"beam": options.beam}
        samples: Iterable[Sample] = model.search(
            prompt, beam=options.beam, num=options.num, **settings
        )
    else:
        how = {"seed": drawn_seed(options)}
        left_out = known if options.novel else NONE
        samples = model.record_samples(prompt, num=options.num, known=left_out, **how, **settings)
        tell_seed(options, how["seed"])  # all that was asked is checked by now
    if options.as_json:
        write_json(model, prompt, options, list(samples), known, how)
    elif alone:  # there is nothing to wait for
        for piece in chain([shown], model.stream(prompt, **how, **settings), [separator, end]):
            console.write_text(piece)
    else:
        marked = (
            f"{shown}{one.text}{MARK if prompt + one.text in known else ''}{separator}"
            for one in samples
        )
        note_missing(options, write_all(marked, end))


def write_all(records: Iterable[str], end: str) -> int:
    """Write records, and `end` after the last, and return how many they were."""
    written = 0
    for record in records:
        console.write_text(record)
        written += 1
    console.write_text(end if written else "")
    return written


def write_json(
    model: Model,
    prompt: str,
    options: SampleOptions,
    samples: list[Sample],
    known: frozenset[str],
    how: dict[str, int],
) -> None:
    """Write records with all that is known about them."""
    facts: dict[str, Any] = describe(model, prompt, options, samples)
    if options.training_text is not None:
        for told, sample in zip(facts["samples"], samples, strict=True):
            told["known"] = prompt + sample.text in known
    console.write_json(facts | {"separator": model.separator} | how)
    note_missing(options, len(samples))


def note_missing(options: SampleOptions, written: int) -> None:
    """Say so if there are fewer records than were asked for."""
    if options.novel and written < options.num:
        what = f"Only {written:,} of {options.num:,} records"
        console.show_note(f"{what}: all others that it wrote are in the training text.")


def known_records(model: Model, options: SampleOptions) -> frozenset[str]:
    """Return the records of the training text, without their separators."""
    if options.training_text is None or model.separator is None:
        return NONE
    text, separator = read_texts([options.training_text]), model.separator
    return frozenset(
        record.removesuffix(separator) for record in cut_records(text.chunks(), separator)
    )
