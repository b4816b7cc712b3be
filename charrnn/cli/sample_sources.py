"""`charrnn sample` with a model of pairs: a line for each source, as the sources come in."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from charrnn.api import Model
from charrnn.cli.sample_options import SampleOptions, samples_to_dict
from charrnn.config.sampling import DRAWING_FIELDS
from charrnn.config.source import SourceConfig
from charrnn.data.lines import line_batches
from charrnn.data.pairs import END
from charrnn.errors import UsageError
from charrnn.evaluation.model_score import model_facts
from charrnn.sampling.generate import Sample
from charrnn.sampling.sources import Alignment, alignment, label_probabilities
from charrnn.terminal.alignment import write_alignment
from charrnn.terminal.console import write_json, write_text
from charrnn.tokenizers import LabelTokenizer

DEFAULT_BEAM = 5  # of a text that is to be right rather than new


def sample_sources(model: Model, prompt: str, options: SampleOptions) -> None:
    """Write what follows from each source."""
    source = model.saved.source
    assert source is not None
    for name in ("interactive", "training_text", "novel"):
        if getattr(options, name):
            raise UsageError(f"`{name}` cannot be used with a model of pairs.")
    if options.source is None:
        raise UsageError(
            "This model's texts depend on a source, and none is given.",
            f"Give a {source.source} with `source`, or `source` - and one a line.",
        )
    if options.show_attention and source.source_attention == "none":
        raise UsageError("`show_attention`: this model has no attention to its source.")
    options = with_default_beam(options, source)
    for one in given_sources(options.source or ""):
        conditioned = model.given(one, unknown=options.settings.get("unknown", "error"))
        if isinstance(model.tokenizer, LabelTokenizer):
            write_label(conditioned, one, options)
        else:
            write_samples(conditioned, one, prompt, options)


def given_sources(source: str) -> Iterator[str]:
    """Yield the sources: the one that was given, or the lines of standard input."""
    if source != "-":
        yield source
        return
    for lines in line_batches(["-"], "utf-8"):
        yield from lines


def write_label(model: Model, source: str, options: SampleOptions) -> None:
    """Write the most probable labels and their probabilities."""
    found = label_probabilities(model.generator)
    if options.json:
        known = model_facts(str(options.model), model.saved)
        write_json({"model": known, "source": source, "labels": found})
    else:
        write_text("".join(label_rows(found)[: options.num]))


def label_rows(found: dict[str, float]) -> list[str]:
    """Return a line for each label and its probability."""
    return [f"{label}\t{probability:.4f}\n" for label, probability in found.items()]


def write_samples(model: Model, source: str, prompt: str, options: SampleOptions) -> None:
    """Write the texts that follow from one source, a line each."""
    samples = list(draw_samples(model, prompt, options))
    if options.json:
        facts = samples_to_dict(model, prompt, options, samples)
        write_json({"source": source} | facts | weights_of(model, source, prompt, samples))
        return
    shown = prompt if options.echo else ""
    for one in samples:
        write_text(f"{shown}{one.text}\n")
        if options.show_attention and shown + one.text:
            write_alignment(align(model, source, prompt + one.text))


def with_default_beam(options: SampleOptions, source: SourceConfig) -> SampleOptions:
    """Return the options with beam search, unless options of drawing are given.

    What follows from a text or a picture should be right rather than new; what is written in the
    manner of a label should be new.
    """
    if options.beam is not None or is_drawn(options) or source.source == "label":
        return options
    return replace(options, beam=max(DEFAULT_BEAM, options.num))


def is_drawn(options: SampleOptions) -> bool:
    """Return whether an option was given that has a meaning only where symbols are drawn."""
    return options.seed is not None or any(name in options.settings for name in DRAWING_FIELDS)


def draw_samples(model: Model, prompt: str, options: SampleOptions) -> Iterable[Sample]:
    """Return the texts of a beam search, or those that are drawn."""
    num, settings = options.num, options.settings
    if options.beam is not None:
        return model.search(prompt, beam=options.beam, num=num, **settings)
    seed = options.beam_or_seed["seed"]
    samples = model.record_samples(prompt, num=num, seed=seed, **settings)
    options.show_drawn_seed()
    return samples


def align(model: Model, source: str, target: str) -> Alignment:
    """Return how much each symbol of a target attends to each part of the source given."""
    tokenizer = model.saved.source_tokenizer
    if tokenizer is None or isinstance(tokenizer, LabelTokenizer):
        return alignment(model.generator, target, None, None)
    return alignment(model.generator, target, tokenizer.encode(source + END), tokenizer)


def weights_of(model: Model, source: str, prompt: str, samples: list[Sample]) -> dict[str, Any]:
    """Return each sample's attention as JSON values: columns of the source, and weights by row."""
    if model.saved.source is None or model.saved.source.source_attention == "none":
        return {}
    found = [align(model, source, prompt + one.text) for one in samples if prompt + one.text]
    return {
        "attention": [
            {"source": one.source, "target": one.target, "weights": one.weights.tolist()}
            for one in found
        ]
    }
