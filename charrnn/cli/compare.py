"""`charrnn compare`: scores of several models and baselines on one held-out text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.cli.options import show_notes
from charrnn.config.blend import BlendConfig
from charrnn.config.fields import argument, option, settings_of
from charrnn.errors import UsageError
from charrnn.evaluation.comparison import compare_models, read_comparison
from charrnn.evaluation.report import is_model
from charrnn.evaluation.request import ScoreOptions
from charrnn.runtime.signals import exit_at_once
from charrnn.storage.atomic import display_path
from charrnn.terminal.console import stderr_console, write_json
from charrnn.terminal.reading_progress import ReadingProgress
from charrnn.terminal.tables import write_comparison

USAGE = "charrnn compare MODEL... TEXT"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of `charrnn compare`."""

    paths: tuple[str, ...] = argument(
        "Run folders, model files, blends such as A+B or A:0.7+B:0.3, or folders of runs with "
        "several seeds; last, the text",
        "MODEL... TEXT",
    )
    score: ScoreOptions
    blending: dict[str, Any] = settings_of(BlendConfig, without=("weights",))
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` unless models are given and, last, a path that is not a model."""
        text = display_path(Path(self.paths[-1]))
        if is_model(self.paths[-1]):
            message = f"The last argument should be the text, but {text} is a model."
            raise UsageError(message, f"Use {USAGE}.")
        if len(self.paths) == 1:
            raise UsageError(f"No model is given, only the text {text}.", f"Use {USAGE}.")


def compare(options: CompareOptions) -> None:
    """Score models side by side on one text, and tell which differences are more than noise."""
    *models, text = options.paths
    with exit_at_once(), ReadingProgress(stderr_console()) as progress:
        inputs = read_comparison(
            models, text, options.score, progress, rule=options.blending.get("blend")
        )
        show_notes(inputs.found.notes)
        comparison = compare_models(inputs, options.score, progress)
    show_notes(comparison.notes)
    if options.json:
        write_json(comparison.to_dict())
    else:
        write_comparison(comparison.to_dict())
