"""`charrnn gradients`: how far back learning reaches."""

import sys
from collections.abc import Sequence
from pathlib import Path

from charrnn.api import load
from charrnn.commands.score import Part, read_whole
from charrnn.errors import UsageError
from charrnn.terminal import console


def gradients(
    paths: Sequence[str], *, lags: int, encoding: str, threads: int | None, as_json: bool
) -> None:
    """Show how the gradients of models, all paths but the last, reach back in a text, the last path."""
    if len(paths) < 2:
        raise UsageError(
            f"There is one path, {paths[0]!r}; a model and a text are needed.",
            "charrnn gradients checkpoints/shakespeare held_out.txt",
        )
    names = model_names(paths[:-1])
    models = {name: load(Path(path)) for name, path in zip(names, paths, strict=False)}
    text = read_whole(paths[-1:], encoding)
    from charrnn.runtime.device import use_processor

    use_processor(threads)
    reaches = {
        name: model.reach(Part(text).encode(model, unknown="charge")[1], lags=lags)
        for name, model in models.items()
    }
    if as_json:
        facts = {
            name: {"path": path} | reach.to_dict()
            for path, (name, reach) in zip(paths, reaches.items(), strict=False)
        }
        console.write_json({"text": text.name, "models": facts})
        return
    from charrnn.terminal.plots import lag_table, plot, reach_lines

    head = "Norm of the gradient of the loss at time t with respect to the state at t - lag"
    sys.stdout.write("\n".join([head, *lag_table(reaches), "", *plot(reaches), ""]) + "\n")
    for name, reach in reaches.items():
        console.write_table(reach_lines(reach), name)


def model_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each model.

    The last part of its path, or the whole path where those are not all different.

    Raises:
        UsageError: A path is given twice.
    """
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if list(paths).count(path) > 1)
        raise UsageError(f"The model {twice!r} is given twice.")
    short = [Path(path).resolve().name for path in paths]
    return short if len(set(short)) == len(short) else list(paths)
