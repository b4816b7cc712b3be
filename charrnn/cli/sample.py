"""`charrnn sample`: let a model write a text, or records if it was trained on them."""

from collections.abc import Iterable

from charrnn.api import Model, load
from charrnn.cli.options import show_notes
from charrnn.cli.sample_options import SampleOptions, read_prompt, samples_to_dict
from charrnn.cli.sample_records import sample_records
from charrnn.cli.sample_sources import sample_sources
from charrnn.errors import UsageError
from charrnn.terminal.console import write_json, write_text


def sample(options: SampleOptions) -> None:
    """Write new text to standard output as it is generated."""
    model = load(options.model, **options.blending.given)
    show_notes(model.saved.notes)
    prompt = read_prompt(options.prompt, options.prompt_file)
    if model.saved.source is not None:
        sample_sources(model, prompt, options)
        return
    if options.source is not None:
        model.given(options.source)  # raises the error
    if options.show_attention:
        raise UsageError("`show_attention` needs a model of pairs.", "Leave it out.")
    if model.format.separator is not None:
        sample_records(model, prompt, options)
        return
    if options.training_text is not None:
        hint = "Train one with charrnn train `records` lines."
        raise UsageError("`training_text` is for models of records.", hint)
    if options.interactive:
        from charrnn.cli.interactive import converse

        options.show_drawn_seed()
        converse(model, prompt, options.settings, options.beam_or_seed["seed"])
    elif options.beam is not None or options.json:
        sample_complete(model, prompt, options)
    else:
        how = options.beam_or_seed
        texts = model.stream_many(prompt, num=options.num, **how, **options.settings)
        options.show_drawn_seed()  # only now, when all options have been checked
        write_texts(texts, prompt, options)


def sample_complete(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write texts that have to be complete before the first is written."""
    how, settings = options.beam_or_seed, options.settings
    if options.beam is not None:
        samples = model.search(prompt, num=options.num, **how, **settings)
    else:
        drawn = model.samples(prompt, num=options.num, **how, **settings)
        options.show_drawn_seed()
        samples = list(drawn)
    if options.json:
        write_json(samples_to_dict(model, prompt, options, samples))
    else:
        write_texts(([one.text] for one in samples), prompt, options)


def write_texts(texts: Iterable[Iterable[str]], prompt: str, options: SampleOptions) -> None:
    """Write texts as they are generated, each after the prompt."""
    shown = prompt if options.echo else ""
    for number, pieces in enumerate(texts, 1):
        write_text(f"--- {number} ---\n{shown}" if options.num > 1 else shown)
        for piece in pieces:
            write_text(piece)
        write_text("\n")
