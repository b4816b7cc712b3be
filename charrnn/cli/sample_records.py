"""`charrnn sample` with a model of records: whole ones, in the form that the training text has."""

from collections.abc import Iterable

from charrnn.api import Model
from charrnn.cli.sample_options import SampleOptions, describe
from charrnn.data.records import cut_records
from charrnn.data.text import read_text
from charrnn.errors import UsageError
from charrnn.sampling.generate import Sample
from charrnn.terminal.console import show_note, write_json, write_text

KNOWN_MARK = "\t(in the training text)"
NONE = frozenset[str]()


def sample_records(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write records to standard output, each as soon as it is made."""
    if options.interactive:
        why = "goes on with one long text, and this model writes records, each by itself"
        raise UsageError(f"`interactive` {why}.")
    known = known_records(model, options)
    alone = options.num == 1 and options.beam is None and options.training_text is None
    if alone and not options.json:
        write_one(model, prompt, options)
        return
    samples = found_records(model, prompt, options, known)
    written = (write_records_json if options.json else write_records)(
        model, prompt, options, samples, known
    )
    if options.novel and written < options.num:
        what = f"Only {written:,} of {options.num:,} records"
        show_note(f"{what}: all others that it wrote are in the training text.")


def known_records(model: Model, options: SampleOptions) -> frozenset[str]:
    """Return the records of the training text, without their separators."""
    separator = model.format.separator
    if options.training_text is None or separator is None:
        return NONE
    text = read_text([options.training_text])
    records = cut_records(text.chunks(), separator)
    return frozenset(record.removesuffix(separator) for record in records)


def found_records(
    model: Model, prompt: str, options: SampleOptions, known: frozenset[str]
) -> Iterable[Sample]:
    """Return the samples that were asked for, as they are made."""
    num, how, settings = options.num, options.how, options.settings
    if options.beam is not None:
        return model.search(prompt, num=num, **how, **settings)
    left_out = known if options.novel else NONE
    samples = model.record_samples(prompt, num=num, known=left_out, **how, **settings)
    options.tell_seed()  # all that was asked is checked by now
    return samples


def line_end(model: Model) -> str:
    """Return what the last record lacks to end its line."""
    return "" if (model.format.separator or "").endswith("\n") else "\n"


def write_one(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write one record in pieces: there is nothing to wait for."""
    pieces = model.stream(prompt, **options.how, **options.settings)
    options.tell_seed()
    write_text(prompt if options.echo else "")
    for piece in pieces:
        write_text(piece)
    write_text((model.format.separator or "") + line_end(model))


def write_records(
    model: Model,
    prompt: str,
    options: SampleOptions,
    samples: Iterable[Sample],
    known: frozenset[str],
) -> int:
    """Write records, marked if they are known, and return how many they were."""
    written, shown = 0, prompt if options.echo else ""
    for one in samples:
        mark = KNOWN_MARK if prompt + one.text in known else ""
        write_text(f"{shown}{one.text}{mark}{model.format.separator}")
        written += 1
    write_text(line_end(model) if written else "")
    return written


def write_records_json(
    model: Model,
    prompt: str,
    options: SampleOptions,
    samples: Iterable[Sample],
    known: frozenset[str],
) -> int:
    """Write records with all that is known about them, and return how many they were."""
    found = list(samples)
    facts = describe(model, prompt, options, found)
    if options.training_text is not None:
        for told, one in zip(facts["samples"], found, strict=True):
            told["known"] = prompt + one.text in known
    write_json(facts | {"separator": model.format.separator})
    return len(found)
