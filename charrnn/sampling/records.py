"""Writing whole records.

As many as are wanted, each from the start symbol on, until its separator.
"""

from collections.abc import Container, Iterator
from dataclasses import replace

from charrnn.config.sampling import SamplingConfig, whole_number
from charrnn.config.schema import check_field
from charrnn.errors import UsageError
from charrnn.sampling.decoding import StepModel
from charrnn.sampling.generate import Job, Sample
from charrnn.tokenizers import Tokenizer

TRIES = 100  # for each record that is wanted, before a model is believed to write nothing new


def ending_records(config: SamplingConfig, separator: str | None) -> SamplingConfig:
    """Return rules by which a text ends at its separator too, if a model writes records."""
    return config if separator is None else replace(config, stop=(*config.stop, separator))


def check_beginning(prompt: str, separator: str | None) -> None:
    """Raise `UsageError` if a prompt goes beyond a record."""
    if separator is not None and separator in prompt:
        raise UsageError(
            f"The prompt holds {separator!r}, where a record ends.",
            "Give the beginning of one record.",
        )


def generate_records(
    model: StepModel,
    tokenizer: Tokenizer,
    prompt: str,
    config: SamplingConfig,
    *,
    separator: str,
    seed: int,
    num: int,
    known: Container[str] = (),
) -> Iterator[Sample]:
    """Yield what follows the prompt in `num` records, each until its separator.

    Memory does not grow with their number.

    Args:
        model: One that was trained on records.
        tokenizer: The model's.
        prompt: What each record begins with.
        config: The rules. A record is also ended by what they say, and `length`, for one record,
            may cut it off.
        separator: What ends a record.
        seed: The same seed gives the same records, and fewer of them are the first of more.
        num: Records, at least 1. Fewer come if `TRIES` times as many were written, and hardly one
            was not known.
        known: Records, from the prompt on and without their separators, that are left out.

    Raises:
        UsageError: The prompt holds the separator, or `seed` or `num` is out of range; raised at
            the call, as the next.
        TextError: The model has never seen some characters of the prompt.
    """
    check_beginning(prompt, separator)
    check_field("num", num, int, whole_number(1))
    job = Job(model, tokenizer, prompt, ending_records(config, separator), seed=seed, num=1)
    return _new(job, prompt, num, known)


def _new(job: Job, prompt: str, num: int, known: Container[str]) -> Iterator[Sample]:
    """Yield `num` samples that are not known.

    The first is written alone, so that it is that of a single text.
    """
    left, streams, most = num, range(1), TRIES * num
    while left and streams:
        new = [sample for sample in job.samples(streams) if prompt + sample.text not in known]
        yield from new
        left -= len(new)
        streams = range(streams.stop, min(streams.stop + min(job.beside, left), most))
