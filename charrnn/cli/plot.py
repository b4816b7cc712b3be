"""`charrnn plot`: the curves of runs in one picture, or as characters."""

import sys
from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import Checked, argument, option
from charrnn.export.page.request import check_new
from charrnn.export.run_curves import AXES, QUANTITIES, check_picture, draw_picture, read_curves
from charrnn.storage.atomic import display_path, write_atomic
from charrnn.terminal.console import show_note


@dataclass(frozen=True, kw_only=True)
class PlotOptions(Checked):
    """The options of `charrnn plot`."""

    runs: tuple[str, ...] = argument("Run folders", "RUN")
    out: Path | None = option(
        None,
        "Write a picture, .svg or .png",
        flags=("--out", "-o"),
        default_note="characters on standard output",
    )
    show: str = option(
        "loss", "Training and validation loss, or what else", choices=tuple(QUANTITIES)
    )
    by: str = option("steps", "The horizontal axis", choices=tuple(AXES))
    force: bool = option(False, "Replace a file that is there")


def plot(options: PlotOptions) -> None:
    """Draw the curves of runs into one picture."""
    if options.out is not None:
        check_picture(options.out)
        check_new(options.out, force=options.force)
    curves = read_curves([Path(run) for run in options.runs], options.show, options.by)
    if options.out is None:
        from charrnn.terminal.curves import plot_curves

        lines = plot_curves(curves, options.show, options.by)
        sys.stdout.write("\n".join([*lines, ""]))
        return
    picture = draw_picture(curves, options.show, options.by, options.out)
    write_atomic(options.out, picture)
    show_note(f"Wrote {display_path(options.out)}.")
