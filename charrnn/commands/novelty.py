"""`charrnn novelty`: does a model write, or recite its training text?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charrnn.api import Model, load
from charrnn.data.records import survey
from charrnn.data.split import cut, training_part
from charrnn.data.text import read_texts
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.novelty import copied
from charrnn.sampling import SamplingConfig
from charrnn.terminal import console

SHOWN = 300  # characters of a passage that are shown


@dataclass(frozen=True, kw_only=True)
class NoveltyOptions:
    """What `charrnn novelty` was asked.

    `settings` are fields of `SamplingConfig`, those that were given.
    """

    texts: Sequence[str]
    valid: str | None
    valid_fraction: float | None
    encoding: str
    settings: dict[str, Any]
    seed: int


def novelty(path: Path, options: NoveltyOptions, *, as_json: bool) -> None:
    """Compare a sample, and as much of the held-out text, with the text that the model learned from."""
    model = load(path)
    training, held_out = read_both(options, held_out_share(model.about), model.separator)
    sample = written(model, options)
    if not sample:
        raise TextError(
            "There is no text to compare: the model's sample is empty.", "Try another --seed."
        )
    columns = {
        "sample": copied(sample, training),
        "held out": copied(held_out[: len(sample)], training),
    }
    if as_json:
        told = {name.replace(" ", "_"): asdict(one) for name, one in columns.items()}
        settings = SamplingConfig(**options.settings).to_dict()
        console.write_json(
            told | {"seed": options.seed, "settings": settings, "model": model.saved.sha256}
        )
    else:
        console.write_columns(console.novelty_table(columns))
        console.write_table(
            [(f"copied in the {name}", repr(one.passage[:SHOWN])) for name, one in columns.items()]
        )


def written(model: Model, options: NoveltyOptions) -> str:
    """Return a sample: one text, or records until they are as long as was asked for."""
    if model.separator is None:
        return model.generate(seed=options.seed, **options.settings)
    length, text = SamplingConfig(**options.settings).length, ""
    records = model.records(num=length, seed=options.seed, **options.settings)
    while len(text) < length:
        text += next(records) + model.separator
    return text[:length]


def held_out_share(about: dict[str, Any]) -> float:
    """Return the share of the text that the model's training held out, as far as the model knows."""
    train = about.get("train")
    share = train.get("valid_fraction") if isinstance(train, dict) else None
    return share if isinstance(share, float) else 0.1


def read_both(options: NoveltyOptions, share: float, separator: str | None) -> tuple[str, str]:
    """Return the text that the model learned from, and the one that was held out."""
    if options.valid is not None and options.valid_fraction is not None:
        raise UsageError(
            "--valid and --valid-fraction both say what was held out.", "Give one of them."
        )
    paths = [options.texts] if options.valid is None else [options.texts, [options.valid]]
    texts = [read_texts(names, encoding=options.encoding) for names in paths]
    for text in texts:
        for note in text.notes:
            console.show_note(note)
    if options.valid is not None:
        return "".join(texts[0].chunks()), "".join(texts[1].chunks())
    text, share = texts[0], share if options.valid_fraction is None else options.valid_fraction
    if separator is not None:
        sides = survey(text.chunks(), separator, text.name).divided(share)
        return "".join(sides.training(text.chunks())), "".join(sides.validating(text.chunks()))
    training, held_out = cut(text.chunks(), training_part(text.characters, share))
    return "".join(training), "".join(held_out)
