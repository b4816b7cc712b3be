"""`charrnn gradients`: how far back a model's gradients reach."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.api import load
from charrnn.cli.options import show_notes
from charrnn.config.fields import argument, option
from charrnn.data.split import TextPart
from charrnn.data.text import read_text
from charrnn.errors import UsageError
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.request import COMPUTE, TextOptions
from charrnn.evaluation.scored_text import encode_part, text_facts
from charrnn.runtime.signals import exit_at_once
from charrnn.storage.blend_name import refuse_blend
from charrnn.terminal.console import stderr_console, write_json
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import write_columns, write_table

TITLE = "Norm of the gradient of the loss at time t with respect to the state at t - lag"


@dataclass(frozen=True, kw_only=True)
class GradientsOptions:
    """The options of `charrnn gradients`."""

    paths: tuple[str, ...] = argument(
        "Run folders or model files and, last, a UTF-8 file, a folder, or - for standard input",
        "MODEL... TEXT",
    )
    lags: int = option(200, "Time steps to look back", group=COMPUTE)
    reading: TextOptions
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` unless a text and at least one model are given, each model once."""
        if len(self.paths) < 2:
            raise UsageError(
                f"There is one path, {self.paths[0]!r}; a model and a text are needed.",
                "Example: charrnn gradients checkpoints/shakespeare held_out.txt",
            )
        models = self.paths[:-1]
        if len(set(models)) < len(models):
            twice = next(path for path in models if models.count(path) > 1)
            raise UsageError(f"The model {twice!r} is given twice.")


def gradients(options: GradientsOptions) -> None:
    """Show how far back gradients reach, from the loss of a prediction to earlier states."""
    *paths, text_path = options.paths
    for path in paths:
        refuse_blend(path, "Gradient flow")
    names = model_names(paths)
    models = {name: load(Path(path)) for name, path in zip(names, paths, strict=True)}
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        encoding = options.reading.encoding
        text = read_text([text_path], encoding=encoding, on_progress=progress)
        show_notes(text.notes)
        flows = {}
        for name, model in models.items():
            encoded = encode_part(model.saved, TextPart.whole(text, model.format))
            scorer = model.scorer(threads=options.reading.threads)
            flows[name] = scorer.gradient_flow(encoded, options.lags)
    if options.json:
        rows = [
            {"name": name, "model": model_facts(path, models[name].saved)} | flow.to_dict()
            for path, (name, flow) in zip(paths, flows.items(), strict=True)
        ]
        write_json({"text": text_facts(text.name, encoded), "models": rows})
        return
    from charrnn.terminal.plots import flow_rows, lag_table, plot

    sys.stdout.write(f"{TITLE}\n")
    write_columns(*lag_table(flows))
    sys.stdout.write("\n".join(["", *plot(flows), "", ""]))
    for name, flow in flows.items():
        write_table(flow_rows(flow), name)


def model_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each model: the last part of its path, or all of it if those repeat."""
    short = [Path(path).resolve().name for path in paths]
    return short if len(set(short)) == len(short) else list(paths)
