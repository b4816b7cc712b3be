"""`charrnn export`: a model or a run in a format that other programs read."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import argument, option
from charrnn.errors import UsageError
from charrnn.evaluation.request import MODEL
from charrnn.export.page.request import check_new
from charrnn.export.tensorboard import write_event_file
from charrnn.runtime.signals import exit_at_once
from charrnn.storage.atomic import display_path
from charrnn.storage.blend_name import refuse_blend
from charrnn.storage.model_file import load_model
from charrnn.storage.run_folder import RunFolder
from charrnn.terminal.console import show_note


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `charrnn export`."""

    model: Path = argument(MODEL, "MODEL")
    onnx: Path | None = option(
        None, "Write one step of the model, ids and state in, logits and state out", metavar="FILE"
    )
    tensorboard: Path | None = option(
        None, "Write the run's logs as an event file into this folder", metavar="FOLDER"
    )
    force: bool = option(False, "Replace a file that is there")

    def __post_init__(self) -> None:
        """Raise `UsageError` if nothing is asked for."""
        if self.onnx is None and self.tensorboard is None:
            hint = "Give `onnx` and a file, or `tensorboard` and a folder."
            raise UsageError("Nothing to export is named.", hint)


def export(options: ExportOptions) -> None:
    """Write a model in a format that other programs read."""
    refuse_blend(options.model, "An export")
    if options.onnx is not None:
        check_new(options.onnx, force=options.force)
        export_onnx(options.model, options.onnx)
    if options.tensorboard is not None:
        path = write_event_file(RunFolder(options.model), options.tensorboard)
        show_note(f"Wrote {display_path(path)}.")


def export_onnx(model: Path, path: Path) -> None:
    """Write a model as an ONNX file, and say how exact it is."""
    with exit_at_once():
        from charrnn.export.onnx_file import write_onnx

        difference = write_onnx(load_model(model), path)
    show_note(
        f"Wrote {display_path(path)}; over 1,000 symbols, onnxruntime's logits differ from "
        f"charrnn's by at most {difference:.2g}."
    )
