"""The curves of several runs, from their metrics logs, and one picture of them by matplotlib."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import MachineError, ModelFileError, UsageError
from charrnn.export.page.curves import Point, points_of
from charrnn.storage.atomic import display_path
from charrnn.storage.container import read_metadata
from charrnn.storage.run_folder import RunFolder

AXES = {"steps": "optimizer steps", "epochs": "epochs", "seconds": "seconds of training"}
QUANTITIES = {  # what can be drawn: its entries in the log, and its unit
    "loss": (("loss", "valid"), "nats per token"),
    "bits": (("bits_per_char",), "bits per character, validation"),
    "lr": (("lr",), "learning rate"),
    "grad_norm": (("grad_norm",), "norm of the gradient"),
}
FORMATS = (".svg", ".png")


@dataclass(frozen=True)
class RunCurve:
    """A curve of one run: points (x, y), ascending in x.

    Attributes:
        run: The run's name.
        entry: The entry of its log.
        points: The points.
    """

    run: str
    entry: str
    points: Sequence[Point]


def read_curves(paths: Sequence[Path], quantity: str, axis: str) -> list[RunCurve]:
    """Return the curves of runs.

    Args:
        paths: The folders of the runs.
        quantity: A key of `QUANTITIES`.
        axis: A key of `AXES`.

    Raises:
        ModelFileError: A folder has no metrics log, or it has no line that can be drawn.
        MachineError: A log cannot be read.
    """
    names = run_names(paths)
    return [
        curve
        for name, path in zip(names, paths, strict=True)
        for curve in _curves_of(path, name, quantity, axis)
    ]


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: the last part of its path, or all of it if those repeat."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _curves_of(path: Path, name: str, quantity: str, axis: str) -> list[RunCurve]:
    folder = RunFolder(path)
    lines = folder.metrics.read()
    if not lines:
        message = f"{display_path(path)} is no run: it has no metrics.jsonl with whole lines."
        raise ModelFileError(message, "Give the folders of runs, such as checkpoints/NAME.")
    per_step = _epochs_per_step(folder) if axis == "epochs" else 1.0
    source = "seconds" if axis == "seconds" else "step"
    found = []
    for entry in QUANTITIES[quantity][0]:
        points = [(x * per_step, y) for x, y in points_of(lines, source, entry)]
        found.append(RunCurve(name, entry, points))
    if not any(curve.points for curve in found):
        raise ModelFileError(f"The log of {display_path(path)} has no {quantity} yet.")
    return [curve for curve in found if curve.points]


def _epochs_per_step(folder: RunFolder) -> float:
    """Return how many epochs a step of a run is.

    Raises:
        ModelFileError: The run has neither a state nor a model that says so.
    """
    for path in (folder.last, folder.model):
        if path.is_file():
            facts: dict[str, Any] = read_metadata(path)
            if path == folder.last:
                return float(facts["epochs"] / facts["train"]["steps"])
            return float(facts["about"]["epochs"] / facts["about"]["step"])
    raise ModelFileError(
        f"{display_path(folder.path)} does not say how long an epoch is.",
        "Draw it by steps or by seconds.",
    )


def check_picture(path: Path) -> None:
    """Raise `UsageError` if a picture's name has no known ending."""
    if path.suffix.lower() not in FORMATS:
        known = " or ".join(FORMATS)
        raise UsageError(f"A picture's name has to end in {known}, not {path.suffix!r}.")


def draw_picture(curves: Sequence[RunCurve], quantity: str, axis: str, path: Path) -> bytes:
    """Return a picture of curves; equal curves give equal pictures.

    Raises:
        MachineError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "A picture needs the package matplotlib, which is not installed."
        raise MachineError(message, "Install it: pip install 'charrnn[plot]'") from error
    with matplotlib.rc_context({"svg.hashsalt": "charrnn", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        plot = figure.add_subplot(xlabel=AXES[axis], ylabel=QUANTITIES[quantity][1])
        colours = {name: f"C{n}" for n, name in enumerate(dict.fromkeys(c.run for c in curves))}
        for curve in curves:
            is_training = curve.entry == "loss"
            plot.plot(
                [x for x, _ in curve.points],
                [y for _, y in curve.points],
                color=colours[curve.run],
                linewidth=1 if is_training else 2,
                alpha=0.45 if is_training else 1,
                marker="" if is_training or len(curve.points) > 40 else "o",
                markersize=4,
                label=label(curve, curves),
            )
        plot.grid(alpha=0.3)
        plot.legend()
        picture, kind = io.BytesIO(), path.suffix.lower().removeprefix(".")
        figure.savefig(
            picture, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {}
        )
    return picture.getvalue()


def label(curve: RunCurve, curves: Sequence[RunCurve]) -> str:
    """Return a curve's name in a legend."""
    kinds = {"loss": "training", "valid": "validation"}
    several = len({one.entry for one in curves}) > 1
    return f"{curve.run}, {kinds[curve.entry]}" if several else curve.run
