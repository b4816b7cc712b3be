"""The short samples that a run shows during training."""

from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.sampling.records import generate_records

LENGTH = 200  # characters
RECORDS = 8


def preview(generator: Generator, seed: int) -> str:
    """Return a short sample: the beginning of a text, or some records."""
    rules = SamplingConfig(length=LENGTH)
    if generator.separator is None:
        request = GenerationRequest(generator, "", rules, seed=seed, num=1)
        return "".join(request.pieces(0))
    records = generate_records(generator, "", rules, seed=seed, num=RECORDS)
    return generator.separator.join(record.text for record in records)[:LENGTH]
