"""`charrnn sample` with a model of records: whole records, written as in the training text."""

from collections.abc import Iterable

from charrnn.api import Model
from charrnn.cli.sample_options import SampleOptions, samples_to_dict
from charrnn.data.records import cut_records
from charrnn.data.text import read_text
from charrnn.errors import UsageError, counted
from charrnn.sampling.generate import Sample
from charrnn.terminal.console import show_note, write_json, write_text

KNOWN_MARK = "\t(in the training text)"
NO_RECORDS = frozenset[str]()


def sample_records(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write records to standard output, each as soon as it is generated."""
    if options.interactive:
        why = "continues one long text, but this model writes separate records"
        raise UsageError(f"`interactive` {why}.")
    known = known_records(model, options)
    alone = options.num == 1 and options.beam is None and options.training_text is None
    if alone and not options.json:
        stream_record(model, prompt, options)
        return
    samples = generate_samples(model, prompt, options, known)
    written = (write_records_json if options.json else write_records)(
        model, prompt, options, samples, known
    )
    if options.novel and written < options.num:
        what = f"Only {written:,} of {counted(options.num, 'record')}"
        show_note(f"{what}: all others that the model wrote are in the training text.")


def known_records(model: Model, options: SampleOptions) -> frozenset[str]:
    """Return the records of the training text, without their separators."""
    separator = model.format.separator
    if options.training_text is None or separator is None:
        return NO_RECORDS
    text = read_text([options.training_text])
    records = cut_records(text.chunks(), separator)
    return frozenset(record.removesuffix(separator) for record in records)


def generate_samples(
    model: Model, prompt: str, options: SampleOptions, known: frozenset[str]
) -> Iterable[Sample]:
    """Return the requested records, as they are generated."""
    num, how, settings = options.num, options.beam_or_seed, options.settings
    if options.beam is not None:
        return model.search(prompt, num=num, **how, **settings)
    left_out = known if options.novel else NO_RECORDS
    samples = model.record_samples(prompt, num=num, known=left_out, **how, **settings)
    options.show_drawn_seed()  # only now, when all options have been checked
    return samples


def final_newline(model: Model) -> str:
    """Return the newline that output has to end with, empty if the separator ends with one."""
    return "" if (model.format.separator or "").endswith("\n") else "\n"


def stream_record(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write one record in pieces, as they are generated."""
    pieces = model.stream(prompt, **options.beam_or_seed, **options.settings)
    options.show_drawn_seed()
    write_text(prompt if options.echo else "")
    for piece in pieces:
        write_text(piece)
    write_text((model.format.separator or "") + final_newline(model))


def write_records(
    model: Model,
    prompt: str,
    options: SampleOptions,
    samples: Iterable[Sample],
    known: frozenset[str],
) -> int:
    """Write records, with a mark on known ones, and return their number."""
    written, shown = 0, prompt if options.echo else ""
    for one in samples:
        mark = KNOWN_MARK if prompt + one.text in known else ""
        write_text(f"{shown}{one.text}{mark}{model.format.separator}")
        written += 1
    write_text(final_newline(model) if written else "")
    return written


def write_records_json(
    model: Model,
    prompt: str,
    options: SampleOptions,
    samples: Iterable[Sample],
    known: frozenset[str],
) -> int:
    """Write records as one JSON object, and return their number."""
    records = list(samples)
    facts = samples_to_dict(model, prompt, options, records)
    if options.training_text is not None:
        for values, one in zip(facts["samples"], records, strict=True):
            values["known"] = prompt + one.text in known
    write_json(facts | {"separator": model.format.separator})
    return len(records)
