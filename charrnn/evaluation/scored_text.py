"""The text that is scored: from files, or the part that a model's own run held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from charrnn.data.encoding import Encoded, refuse_unknown
from charrnn.data.formats import TextFormat, saved_format
from charrnn.data.id_cache import encode_to_tempfile, encoded_parts
from charrnn.data.split import TextPart, split_text
from charrnn.data.text import OnProgress, read_text
from charrnn.errors import TextError, counted
from charrnn.evaluation import baselines
from charrnn.evaluation.baselines import BaselineScore
from charrnn.evaluation.request import ScoreOptions
from charrnn.storage.atomic import display_path
from charrnn.storage.blend import Saved
from charrnn.storage.model_file import SavedModel, about_part
from charrnn.storage.run_folder import RunFolder

MAX_DEFAULT_LENGTH = 4_000_000  # characters, for which the baselines take a few seconds
NO_BASELINES = (
    "No baselines: they take a while for texts of this length. Add `baselines` to score them."
)


class ScoredText(Protocol):
    """A text to score, and the text that baselines are trained on."""

    @property
    def name(self) -> str:
        """Short name of the text."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user."""

    @property
    def length(self) -> int:
        """Characters of both texts together."""

    def read(self) -> str:
        """Return the text to score."""

    def read_train(self) -> str | None:
        """Return the text that baselines are trained on, if there is one."""

    def encode(self, saved: Saved, unknown: str = "charge") -> Encoded:
        """Return the text to score as a model's ids."""


@dataclass(frozen=True)
class FileText:
    """A text from files.

    Attributes:
        text: The text to score.
        train: The text that the baselines are trained on, if there is one.
        notes: Messages for the user.
    """

    text: TextPart
    train: TextPart | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name of the text; see `ScoredText`."""
        return self.text.text.name

    @property
    def length(self) -> int:
        """Characters of both texts together."""
        return self.text.characters + (self.train.characters if self.train else 0)

    def read(self) -> str:
        """Return the text to score."""
        return self.text.read()

    def read_train(self) -> str | None:
        """Return the text that baselines are trained on, if there is one."""
        return None if self.train is None else self.train.read()

    def encode(self, saved: Saved, unknown: str = "charge") -> Encoded:
        """Return the text to score as a model's ids; see `encode_part`."""
        return encode_part(saved, self.text, unknown)


@dataclass(frozen=True)
class HeldOutText:
    """The part of a run's text that validated its model, as the run has kept it.

    Attributes:
        saved: The run's model.
        train: The training part.
        valid: The held-out part.
        notes: Messages for the user.
    """

    saved: SavedModel
    train: Encoded
    valid: Encoded
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name of the text; see `ScoredText`."""
        text = about_part(self.saved.about, "text")
        return f"{text.get('name')}, held out" if text else "held out"

    @property
    def length(self) -> int:
        """Characters of both parts together."""
        return self.train.characters + self.valid.characters

    def read(self) -> str:
        """Return the held-out part; U+FFFD stands for unknown characters."""
        return self.saved.tokenizer.decode(self.valid.ids)

    def read_train(self) -> str:
        """Return the training part."""
        return self.saved.tokenizer.decode(self.train.ids)

    def encode(self, saved: Saved, unknown: str = "charge") -> Encoded:
        """Return the held-out part."""
        if unknown == "error":
            refuse_unknown(saved.tokenizer, [self.read()], "text")
        return self.valid


def held_out_text(path: Path, saved: Saved) -> HeldOutText:
    """Return the part of a run's text that validated its model, or all members of a blend.

    Args:
        path: The run folder, or its model file.
        saved: The model, or a blend.

    Raises:
        TextError: The run's encoded text is not there, or is not that of the model, or of all
            members.
    """
    path, saved = first_member(path, saved)
    folder = RunFolder.of_model(path)
    parts = encoded_parts(folder.ids, saved.tokenizer)
    if parts is None or parts[1].sha256 != _valid_sha256(saved):
        raise TextError(
            f"The text that the run in {display_path(folder.path)} held out is not kept there.",
            f"Name the text: charrnn eval {display_path(path)} TEXT `valid_fraction` 0.1",
        )
    train, valid = parts
    size = counted(valid.characters, "character")
    note = f"Scoring the part of the text that the run held out: {size}."
    return HeldOutText(saved, train, valid, (note,))


def first_member(path: Path, saved: Saved) -> tuple[Path, SavedModel]:
    """Return the first member of a blend, with its path; a model that is no blend is its own.

    Raises:
        TextError: The members were validated on different texts.
    """
    if isinstance(saved, SavedModel):
        return path, saved
    if len({_valid_sha256(one) for one in saved.members}) > 1 or any(saved.maps):
        message = f"The members of {path} held out different texts."
        raise TextError(message, f"Name the text: charrnn eval {path} TEXT")
    return Path(saved.names[0]), saved.members[0]


def _valid_sha256(saved: SavedModel) -> Any:
    return about_part(saved.about, "text").get("valid_sha256")


def read_scored(
    paths: Sequence[str], options: ScoreOptions, text_format: TextFormat, on_progress: OnProgress
) -> FileText:
    """Read the text to score, and the text that the baselines are trained on."""
    encoding = options.reading.encoding
    whole = read_text(paths, encoding=encoding, on_progress=on_progress)
    train, notes = None, whole.notes
    if options.train:
        other = read_text(options.train, encoding=encoding, on_progress=on_progress)
        train, notes = TextPart.whole(other, text_format), (*notes, *other.notes)
    if options.valid_fraction is None:
        return FileText(TextPart.whole(whole, text_format), train, notes)
    split = split_text(whole, text_format, options.valid_fraction)
    return FileText(split.valid, train or split.train, (*notes, *split.notes))


def encode_part(saved: Saved, part: TextPart, unknown: str = "charge") -> Encoded:
    """Return a part of a text as ids in a memory-mapped file.

    Raises:
        TextError: It has unknown characters and `unknown` is "error", or it cannot be read.
    """
    if unknown == "error":
        units = part.units("Looking for unknown characters")
        refuse_unknown(saved.tokenizer, units, "text")
    return encode_to_tempfile(saved.tokenizer, part, "Encoding")


def baseline_scores(
    found: ScoredText, wanted: bool | None, on_progress: OnProgress
) -> tuple[list[BaselineScore], tuple[str, ...]]:
    """Return the scores of the baselines, and notes.

    Args:
        found: The texts.
        wanted: Whether to score baselines; None scores them if the texts are short enough to be
            fast, and says so in a note otherwise.
        on_progress: Called before and after each baseline.
    """
    if wanted is None and found.length > MAX_DEFAULT_LENGTH:
        return [], (NO_BASELINES,)
    if wanted is False:
        return [], ()
    text, train = found.read(), found.read_train()
    scores = baselines.unprimed(text) if train is None else baselines.primed(train, text)
    return list(_counted(scores, 3 if train is None else 6, on_progress)), ()


def _counted(
    scores: Iterator[BaselineScore], total: int, on_progress: OnProgress
) -> Iterator[BaselineScore]:
    """Yield scores and report progress."""
    on_progress("Baselines", 0, total)
    for number, score in enumerate(scores, 1):
        on_progress("Baselines", number, total)
        yield score


def text_facts(name: str, text: Encoded) -> dict[str, Any]:
    """Return what identifies a scored text, as JSON values."""
    sizes = {"characters": text.characters, "bytes": text.bytes}
    return {"name": name, "sha256": text.sha256, **sizes}


def blank_note(found: ScoredText, text: Encoded, saved: Saved) -> tuple[str, ...]:
    """Return a note about the characters of blank records, which are left out, if there are any."""
    if saved_format(saved.about).separator is None or not isinstance(found, FileText):
        return ()
    part = found.text
    if text.characters >= part.characters:
        return ()
    left_out = part.characters - text.characters
    return (
        f"Blank records are left out: {left_out:,} of {counted(part.characters, 'character')}.",
    )
