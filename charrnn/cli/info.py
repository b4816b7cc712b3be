"""`charrnn info`: what a model file contains, and how far its run is."""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charrnn.api import load
from charrnn.cli.program import program
from charrnn.config.blend import BlendConfig
from charrnn.config.fields import argument, option
from charrnn.errors import ModelFileError
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.request import MODEL_OR_BLEND
from charrnn.model.shapes import parameter_count
from charrnn.storage.atomic import display_path
from charrnn.storage.blend import SavedBlend
from charrnn.storage.lock import holder_of
from charrnn.storage.run_folder import RunFolder
from charrnn.terminal.console import write_json
from charrnn.terminal.info_table import blend_rows, info_rows
from charrnn.terminal.tables import write_table

INVALID_FACTS_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """The options of `charrnn info`."""

    model: Path = argument(MODEL_OR_BLEND, "MODEL")
    blending: BlendConfig
    json: bool = option(False, "Write the result as one JSON object")


def info(options: InfoOptions) -> None:
    """Show what a model contains, how it was trained, and how to continue."""
    saved = load(options.model, **options.blending.given).saved
    if isinstance(saved, SavedBlend):
        facts = blend_facts(str(options.model), saved)
        if options.json:
            write_json({"model": facts})
        else:
            write_table(blend_rows(facts))
        return
    known = model_facts(str(options.model), saved)
    # What was checked is not replaced by what the file says of the same name.
    facts = {name: one for name, one in saved.about.items() if name not in known}
    facts |= {"model": known, "config": saved.config.to_dict(), "run": {}}
    if isinstance(text := facts.get("text"), dict):
        facts["text"] = {name: one for name, one in text.items() if name != "sketch"}
    try:
        if options.model.is_dir():
            facts["run"] = run_facts(RunFolder(options.model))
        if options.json:
            write_json(facts)
            return
        rows = info_rows(facts)
    except INVALID_FACTS_ERRORS as error:
        name = display_path(options.model)
        message = f"{name} has invalid facts about its training, which charrnn did not write."
        raise ModelFileError(message) from error
    write_table(rows)


def blend_facts(name: str, saved: SavedBlend) -> dict[str, Any]:
    """Return what a blend consists of, as JSON values."""
    facts = model_facts(name, saved)
    for values, one in zip(facts["members"], saved.members, strict=True):
        values |= {"config": one.config.to_dict(), "parameters": parameter_count(one.config)}
        values["valid"] = one.about.get("valid")
    return facts


def run_facts(folder: RunFolder) -> dict[str, Any]:
    """Return how far a run is, how to continue it, its text, when, how long and with what.

    Returns:
        JSON values; empty if the folder holds no training state.
    """
    state = folder.load_state()
    if state is None:
        return {}
    facts, holder = state.facts, holder_of(folder.path)
    step = facts["trainer"]["progress"]["step"]
    sources, sessions = folder.record.sources(), folder.record.sessions()
    place = shlex.quote(str(folder.path))
    from_stdin = "-" in sources.get("texts", ())
    changed = datetime.fromtimestamp(folder.last.stat().st_mtime, UTC)
    return {
        "folder": str(folder.path),
        "state": "training" if holder else "finished" if facts["finished"] else "stopped",
        "held_by": holder,
        "step": step,
        "steps": facts["train"]["steps"],
        "seconds": folder.record.seconds_at(step),
        "continue": f"{program()} train {'- ' * from_stdin}--resume {place}",
        "texts": [*sources.get("texts", ()), *sources.get("valid", ())],
        "began": sessions[0].get("began") if sessions else None,
        "saved": changed.isoformat(timespec="seconds"),
        "sessions": sessions,
    }
