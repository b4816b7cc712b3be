"""Writing whole records, each from the start symbol to its end."""

from collections.abc import Container, Iterator

from charrnn.config.fields import check_number
from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.generate import GenerationRequest, Generator, Sample

MAX_TRIES = 100  # records written per record wanted, before the search for new ones ends


def generate_records(
    generator: Generator,
    prompt: str,
    config: SamplingConfig,
    *,
    seed: int,
    num: int,
    known: Container[str] = (),
) -> Iterator[Sample]:
    """Yield what follows the prompt in `num` records, each up to its separator.

    Memory does not grow with `num`.

    Args:
        generator: A model of records, its tokenizer and separator.
        prompt: What each record begins with.
        config: How records are drawn. Its stop strings and units also end a record, and `length`
            limits each one.
        seed: At least 0. The same seed gives the same records; a smaller `num` gives the first of
            them.
        num: Number of records, at least 1. Fewer are yielded if, after `MAX_TRIES` times as many,
            too few were new.
        known: Records to leave out, with the prompt and without their separators.

    Raises:
        UsageError: The prompt holds the separator, or `seed` or `num` is out of range. All errors
            are raised by the call itself, not while iterating.
        TextError: The prompt has characters that the model does not know.
    """
    check_number("num", num, low=1)
    request = GenerationRequest(generator, prompt, config, seed=seed, num=1)
    return _new_records(request, prompt, num, known)


def _new_records(
    request: GenerationRequest, prompt: str, num: int, known: Container[str]
) -> Iterator[Sample]:
    """Yield `num` samples that are not known.

    The first is decoded alone, so that it is the same as when it is the only one.
    """
    left, streams, most = num, range(1), MAX_TRIES * num
    while left and streams:
        new = [one for one in request.samples(streams) if prompt + one.text not in known]
        yield from new
        left -= len(new)
        end = min(streams.stop + min(request.batch_size, left), most)
        streams = range(streams.stop, end)
