"""The pairs that a run held out, read again from the run's own file."""

from functools import partial
from pathlib import Path
from typing import Any

from charrnn.config.source import SourceConfig
from charrnn.data.formats import saved_valid_fraction
from charrnn.data.pairs import PairSplit, split_pairs
from charrnn.data.text import OnProgress, read_text
from charrnn.errors import TextError, counted
from charrnn.evaluation.scored_text import first_member
from charrnn.storage.atomic import display_path
from charrnn.storage.blend import Saved
from charrnn.storage.model_file import about_part
from charrnn.storage.run_folder import RunFolder


def held_out_pairs(
    path: Path, saved: Saved, config: SourceConfig, on_progress: OnProgress
) -> PairSplit:
    """Return the pairs of a run, split as in training, with a note about that.

    Args:
        path: The run folder, or its model file.
        saved: The run's model, or a blend of those of several runs with the same pairs.
        config: What its sources are.
        on_progress: Called while the file is read.

    Raises:
        TextError: It is not known which file that is, or it has changed, or the members of a blend
            held out different pairs.
    """
    path, saved = first_member(path, saved)
    places, hint = _places(path), f"Name a file: charrnn eval {display_path(path)} PAIRS"
    if not places:
        where = display_path(path)
        raise TextError(f"It is not known where the pairs of the run in {where} are.", hint)
    read = partial(read_text, encoding=places["encoding"], on_progress=on_progress)
    text, valid = read(places["texts"]), read(places["valid"]) if places["valid"] else None
    split = split_pairs(text, config, saved_valid_fraction(saved.about), valid)
    if split.targets.sha256 != about_part(saved.about, "text").get("sha256"):
        raise TextError(f"{text.name} has changed since the model was trained on it.", hint)
    return split


def _places(path: Path) -> dict[str, Any]:
    """Return the paths that a run has recorded; none if one of them was standard input."""
    places = RunFolder.of_model(path).record.sources()
    return places if places and "-" not in places["texts"] + places["valid"] else {}


def held_out_note(split: PairSplit) -> str:
    """Return what the user is told about the pairs that are scored."""
    size = counted(split.targets.valid.characters, "character")
    return f"Scoring the pairs that the run held out: {size} of targets."
