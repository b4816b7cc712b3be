"""Writing whole records: as many as are wanted, each from the start symbol on, until its separator."""

from collections.abc import Container, Iterator
from dataclasses import replace

from charrnn.errors import UsageError
from charrnn.sampling import SamplingConfig, StepModel, encode_prompt, generate_texts
from charrnn.tokenizers import Tokenizer

GROUP = 64  # records that are written side by side
TRIES = 100  # for each record that is wanted, before a model is believed to write nothing new


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
) -> Iterator[str]:
    """Yield `num` records, without their separator; memory does not grow with their number.

    Args:
        model: One that was trained on records.
        tokenizer: The model's.
        prompt: What each record begins with; it is part of what is yielded.
        config: The rules. A record is also ended by `config.stop`, and by `config.length`, which is the one way in
            which it can be cut off.
        separator: What ends a record.
        seed: The same seed gives the same records, and fewer of them are the first of more.
        num: Records, at least 1. Fewer come if `TRIES` times as many were written, and hardly one was not known.
        known: Records that are left out.

    Raises:
        UsageError: The prompt holds the separator; raised before the first record, as all errors are.
        TextError: The model has never seen some characters of the prompt.
    """
    if separator in prompt:
        raise UsageError(f"The prompt holds {separator!r}, where a record ends.", "Give the beginning of one record.")
    encode_prompt(tokenizer, prompt, config.unknown)
    return _records(model, tokenizer, prompt, config, separator=separator, seed=seed, num=num, known=known)


def _records(
    model: StepModel,
    tokenizer: Tokenizer,
    prompt: str,
    config: SamplingConfig,
    *,
    separator: str,
    seed: int,
    num: int,
    known: Container[str],
) -> Iterator[str]:
    stop, config = config.stop, replace(config, stop=separator)
    left, tries, group = num, TRIES * num, 0
    while left > 0 and tries > 0:
        size = min(GROUP, left)
        # Whoever writes streams side by side numbers them from 0, so the groups differ in the seed.
        texts = generate_texts(model, tokenizer, prompt, config, seed=seed + (group << 64), num=size)
        records = [prompt + (text.partition(stop)[0] if stop else text) for text in texts]
        new = [record for record in records if record not in known]
        yield from new
        left, tries, group = left - len(new), tries - size, group + 1
