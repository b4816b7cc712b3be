"""`charrnn runs`: the runs in a folder, side by side."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import Checked, argument, option
from charrnn.storage.runs import SORT_KEYS, RunSummary, find_runs
from charrnn.terminal.console import show_note, write_json
from charrnn.terminal.tables import format_duration, write_columns

HEAD = ["run", "model", "text", "bits/char", "best step", "steps", "time", "state"]


@dataclass(frozen=True, kw_only=True)
class RunsOptions(Checked):
    """The options of `charrnn runs`."""

    folder: Path = argument("The folder of the runs", "FOLDER", default=Path("checkpoints"))
    sort: str = option("name", "Sort by name, best score, steps, time or state", choices=SORT_KEYS)
    json: bool = option(False, "Write the result as one JSON object")


def runs(options: RunsOptions) -> None:
    """List runs: model, text, best score, steps, time and state."""
    found = find_runs(options.folder, options.sort)
    if options.json:
        write_json({"runs": [run.to_dict() for run in found]})
    elif found:
        write_columns(HEAD, [row(run) for run in found])
    else:
        show_note(f"There are no runs in {options.folder}.")


def row(run: RunSummary) -> list[str]:
    """Return the cells of a run."""
    done = "" if run.step is None else f"{run.step:,}"
    if run.steps is not None and run.steps != run.step:
        done = f"{done}/{run.steps:,}"
    return [
        run.name,
        run.model or "",
        run.text or "",
        "" if run.bits_per_char is None else f"{run.bits_per_char:.3f}",
        "" if run.best_step is None else f"{run.best_step:,}",
        done,
        "" if run.seconds is None else format_duration(run.seconds),
        run.state,
    ]
