"""Writing whole records: as many as are wanted, each from the start symbol on, until its end."""

from collections.abc import Container, Iterator

from charrnn.config.fields import check_number
from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.generate import GenerationRequest, Generator, Sample

TRIES = 100  # for each record that is wanted, before a model is believed to write nothing new


def generate_records(
    generator: Generator,
    prompt: str,
    config: SamplingConfig,
    *,
    seed: int,
    num: int,
    known: Container[str] = (),
) -> Iterator[Sample]:
    """Yield what follows the prompt in `num` records, each until its separator.

    Memory does not grow with their number.

    Args:
        generator: What writes, trained on records.
        prompt: What each record begins with.
        config: The rules. What they say may also end a record, and `length`, for one record, may cut
            it off.
        seed: The same seed gives the same records, and fewer of them are the first of more.
        num: Records, at least 1. Fewer come if `TRIES` times as many were written, and hardly one
            was not known.
        known: Records, from the prompt on and without their separators, that are left out.

    Raises:
        UsageError: The prompt holds the separator, or `seed` or `num` is out of range; raised at the
            call, as the next.
        TextError: The prompt has characters that the model does not know.
    """
    check_number("num", num, low=1)
    request = GenerationRequest(generator, prompt, config, seed=seed, num=1)
    return _new_records(request, prompt, num, known)


def _new_records(
    request: GenerationRequest, prompt: str, num: int, known: Container[str]
) -> Iterator[Sample]:
    """Yield `num` samples that are not known.

    The first is written alone, so that it is that of a single text.
    """
    left, streams, most = num, range(1), TRIES * num
    while left and streams:
        new = [one for one in request.samples(streams) if prompt + one.text not in known]
        yield from new
        left -= len(new)
        end = min(streams.stop + min(request.batch_size, left), most)
        streams = range(streams.stop, end)
