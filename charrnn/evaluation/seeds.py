"""Models that were trained several times, with one seed each."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import ModelFileError, UsageError
from charrnn.storage.blend import Saved, open_model
from charrnn.storage.blend_name import member_names
from charrnn.storage.model_file import SavedModel, about_part

# Settings in which the runs of one group may differ: a time budget changes the last ones.
OWN_SETTINGS = ("seed", "threads", "steps", "eval_every", "save_every")


@dataclass(frozen=True)
class ModelGroup:
    """The runs of one model: one, or one for each seed.

    Attributes:
        name: The name, as it was given.
        runs: Paths and models.
    """

    name: str
    runs: tuple[tuple[str, Saved], ...]


def load_group(name: str, rule: str | None = None) -> ModelGroup:
    """Load a model, a blend, or all runs below a folder of runs with several seeds.

    Args:
        name: The name; see `charrnn.storage.blend.open_model`.
        rule: How a blend's predictions are mixed; None is the default.

    Raises:
        ModelFileError: A model cannot be loaded; the message names it.
        UsageError: The runs of a folder differ in more than their seeds.
    """
    runs = runs_below(Path(name))
    group = ModelGroup(name, tuple((path, load_named(path, rule)) for path in runs or [name]))
    models = [saved for _, saved in group.runs if isinstance(saved, SavedModel)]
    for saved in models[1:]:
        if odd := other_settings(models[0], saved):
            raise UsageError(
                f"The runs in {name} differ in more than their seeds: in {odd}.",
                "Name each run that is to be compared.",
            )
    return group


def runs_below(folder: Path) -> list[str]:
    """Return the run folders in a folder that is not one itself."""
    if not folder.is_dir() or (folder / "model.safetensors").exists():
        return []
    return sorted(str(path.parent) for path in folder.glob("*/model.safetensors"))


def other_settings(first: SavedModel, second: SavedModel) -> str:
    """Return the name of a setting in which two runs differ beside the seed; empty if none."""
    settings = ((one.config.to_dict(), about_part(one.about, "train")) for one in (first, second))
    one, other = ({**model, **train} for model, train in settings)
    names = (one.keys() | other.keys()) - {*OWN_SETTINGS, "dropout"}
    return next((name for name in sorted(names) if one.get(name) != other.get(name)), "")


def load_named(name: str, rule: str | None = None) -> Saved:
    """Load one of several models; `rule` is that of `load_group`.

    Raises:
        ModelFileError: It cannot be loaded; the message names it.
    """
    try:
        return open_model(name, blend=rule if len(member_names(name)) > 1 else None)
    except ModelFileError as error:
        error.hint = error.hint or "All arguments but the last are models."
        raise


def seed_of(saved: Saved) -> int | None:
    """Return the seed that a model was trained with, if its file says so."""
    return about_part(saved.about, "train").get("seed")
