"""`charrnn novelty`: how much of a model's sample is copied from its training text."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.api import Model, load
from charrnn.cli.options import show_notes
from charrnn.config.blend import BlendConfig
from charrnn.config.fields import argument, option, settings_of
from charrnn.config.sampling import SamplingConfig
from charrnn.config.training import DATA
from charrnn.data.formats import saved_valid_fraction
from charrnn.data.split import TextSplit, split_text
from charrnn.data.text import TEXTS, OnProgress, no_progress, read_text
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.novelty import copied
from charrnn.evaluation.request import MODEL_OR_BLEND
from charrnn.runtime.signals import exit_at_once
from charrnn.terminal.console import stderr_console, write_json
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import write_novelty, write_table, write_words
from charrnn.terminal.words import novelty_words

MAX_SHOWN = 300  # characters of a passage that are shown


@dataclass(frozen=True, kw_only=True)
class NoveltyOptions:
    """The options of `charrnn novelty`; `settings` are fields of `SamplingConfig`."""

    model: Path = argument(MODEL_OR_BLEND, "MODEL")
    texts: tuple[str, ...] = argument(TEXTS, "TEXT")
    valid_fraction: float | None = option(
        None,
        "Fraction of the text that was held out in training",
        group=DATA,
        default_note="as the model was trained",
    )
    valid: str | None = option(
        None, "The held-out text, if it was a separate one", group=DATA, metavar="TEXT"
    )
    encoding: str = option("utf-8", "Encoding of the text", group=DATA, metavar="NAME")
    length: int = option(10_000, "Characters to write for the comparison", flags=("--length", "-n"))
    settings: dict[str, Any] = settings_of(
        SamplingConfig, without=("length", "stop", "until", "unknown")
    )
    blending: BlendConfig
    seed: int = option(1, "The same seed gives the same sample")
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` if the options contradict each other."""
        if self.valid is not None and self.valid_fraction is not None:
            message = "`valid` and `valid_fraction` both say what was held out."
            raise UsageError(message, "Give one of them.")


def novelty(options: NoveltyOptions) -> None:
    """Show how much of a sample is copied from the training text, compared with held-out text."""
    settings = {"length": options.length} | options.settings
    model = load(options.model, **options.blending.given)
    show_notes(model.saved.notes)
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        split = read_split(model, options, progress)
        show_notes(split.notes)
        training, held_out = split.train.read(), split.valid.read()
        sample = write_sample(model, options.seed, settings, progress)
        if not sample:
            message = "There is no text to compare: the model's sample is empty."
            raise TextError(message, "Try another `seed`.")
        columns = {
            "sample": copied(sample, training, progress),
            "held out": copied(held_out[: len(sample)], training, progress),
        }
    if options.json:
        results = {name.replace(" ", "_"): asdict(one) for name, one in columns.items()}
        rules = SamplingConfig(**settings).to_dict()
        texts = (training, held_out)
        sizes = {
            "characters": sum(map(len, texts)),
            "bytes": sum(len(text.encode()) for text in texts),
        }
        text = {"name": split.name, "sha256": split.sha256} | sizes
        facts = {"seed": options.seed, "settings": rules, "text": text}
        write_json({"model": model_facts(str(options.model), model.saved)} | facts | results)
        return
    write_novelty(columns)
    passages = [(name, one.passage[:MAX_SHOWN]) for name, one in columns.items()]
    write_table([(f"copied in the {name}", repr(passage)) for name, passage in passages])
    write_words(novelty_words(columns))


def write_sample(
    model: Model, seed: int, settings: dict[str, Any], on_progress: OnProgress = no_progress
) -> str:
    """Return a sample: one text, or as many records as it takes to reach the length."""
    separator, length, text = model.format.separator, SamplingConfig.of(settings).length, ""
    if separator is None:
        pieces = model.stream(seed=seed, **settings)
    else:
        pieces = (one + separator for one in model.records(num=length, seed=seed, **settings))
    for piece in pieces:
        text += piece
        on_progress("Writing a sample", len(text), length)
        if len(text) >= length:
            break
    return text[:length]


def read_split(model: Model, options: NoveltyOptions, on_progress: OnProgress) -> TextSplit:
    """Return the text that the model was trained on and the text that was held out."""
    encoding, given = options.encoding, options.valid_fraction
    text = read_text(options.texts, encoding=encoding, on_progress=on_progress)
    valid = None
    if options.valid is not None:
        valid = read_text([options.valid], encoding=encoding, on_progress=on_progress)
    fraction = saved_valid_fraction(model.about) if given is None else given
    split = split_text(text, model.format, fraction, valid)
    return replace(split, notes=(*text.notes, *(valid.notes if valid else ()), *split.notes))
