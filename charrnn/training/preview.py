"""The short samples that a run shows during training, and those that it keeps for a page."""

import math
from itertools import islice

from charrnn.config.sampling import SamplingConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import EncodedSplit
from charrnn.data.pairs import END
from charrnn.data.sources import Sources
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling.beam_search import search
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.sampling.records import generate_records
from charrnn.sampling.sources import label_probabilities, with_source
from charrnn.tokenizers import LabelTokenizer

LENGTH = 200  # characters
RECORDS = 8
# Where a run takes the samples for its page, as fractions of its steps: a model learns the most at
# first.
PAGE_POINTS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
PAIRS = 4


def preview(model: NumpyModel, data: EncodedSplit, seed: int) -> str:
    """Return a short sample: the beginning of a text, or some records."""
    rules = SamplingConfig(length=LENGTH)
    generator = Generator(model, data.tokenizer, data.format.separator)
    if data.valid.sources is not None:
        return _pairs(model, data, data.valid.sources)
    if generator.separator is None:
        request = GenerationRequest(generator, "", rules, seed=seed, num=1)
        return "".join(request.pieces(0))
    records = generate_records(generator, "", rules, seed=seed, num=RECORDS)
    return generator.separator.join(record.text for record in records)[:LENGTH]


def is_page_point(step: int, steps: int) -> bool:
    """Return whether a run of `steps` steps takes a sample for its page after this one."""
    return step in {math.ceil(fraction * steps) for fraction in PAGE_POINTS}


def is_shown(step: int, config: TrainConfig) -> bool:
    """Return whether a run shows a sample on the terminal after this step."""
    return config.sample_every is not None and step % config.sample_every == 0


def is_sample_due(step: int, config: TrainConfig) -> bool:
    """Return whether a run takes a sample after this step, to show it or for its page."""
    return is_shown(step, config) or (config.page and is_page_point(step, config.steps))


def _pairs(model: NumpyModel, data: EncodedSplit, sources: Sources) -> str:
    """Return what a model writes for the first held-out sources, without random choices."""
    assert data.reader is not None
    generator, lines = Generator(model, data.tokenizer, END), list[str]()
    for number, values in enumerate(islice(sources.each(), PAIRS), 1):
        tokenizer = data.source_tokenizer
        name = f"picture {number}" if tokenizer is None else tokenizer.decode(values).strip()
        given = with_source(generator, data.reader.prepare(values))
        lines.append(f"{name} \u2192 {_most_probable(given)}")
    return "\n".join(lines)


def _most_probable(generator: Generator) -> str:
    """Return the most probable label, or what follows if each most probable symbol is taken."""
    if isinstance(generator.tokenizer, LabelTokenizer):
        return next(iter(label_probabilities(generator)))
    (found,) = search(generator, "", SamplingConfig(length=LENGTH), beam=1)
    return found.text
