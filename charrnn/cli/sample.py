"""`charrnn sample`: let a model write, as it was trained: one long text, or records."""

from collections.abc import Iterable

from charrnn.api import Model, load
from charrnn.cli.sample_options import SampleOptions, describe, read_prompt
from charrnn.cli.sample_records import sample_records
from charrnn.errors import UsageError
from charrnn.terminal.console import write_json, write_text


def sample(options: SampleOptions) -> None:
    """Write new text to standard output, as it is made."""
    model = load(options.model)
    prompt = read_prompt(options.prompt, options.prompt_file)
    if model.format.separator is not None:
        sample_records(model, prompt, options)
        return
    if options.training_text is not None:
        hint = "Train one with charrnn train `records` lines."
        raise UsageError("`training_text` is for models of records.", hint)
    if options.interactive:
        from charrnn.cli.interactive import converse

        options.tell_seed()
        converse(model, prompt, options.settings, options.how["seed"])
    elif options.beam is not None or options.json:
        sample_whole(model, prompt, options)
    else:
        texts = model.stream_many(prompt, num=options.num, **options.how, **options.settings)
        options.tell_seed()  # all that was asked is checked by now
        write_texts(texts, prompt, options)


def sample_whole(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write texts that have to be complete before the first is written."""
    how, settings = options.how, options.settings
    if options.beam is not None:
        samples = model.search(prompt, num=options.num, **how, **settings)
    else:
        drawn = model.samples(prompt, num=options.num, **how, **settings)
        options.tell_seed()
        samples = list(drawn)
    if options.json:
        write_json(describe(model, prompt, options, samples))
    else:
        write_texts(([one.text] for one in samples), prompt, options)


def write_texts(texts: Iterable[Iterable[str]], prompt: str, options: SampleOptions) -> None:
    """Write texts as they are made, each after the prompt."""
    shown = prompt if options.echo else ""
    for number, pieces in enumerate(texts, 1):
        write_text(f"--- {number} ---\n{shown}" if options.num > 1 else shown)
        for piece in pieces:
            write_text(piece)
        write_text("\n")
