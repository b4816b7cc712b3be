"""Requests for a page, from the command line or from Python. No torch."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import Checked, argument, option
from charrnn.data.text import TEXTS
from charrnn.errors import MachineError
from charrnn.evaluation.request import MODEL, EvalRequest, ScoreOptions
from charrnn.export.page.weights import FORMATS
from charrnn.storage.atomic import check_regular, display_path


@dataclass(frozen=True, kw_only=True)
class PageRequest(Checked):
    """A request for a page of one model.

    Attributes:
        options: Which part of the text to score, on which device, and with which baselines.
    """

    model: Path = argument(MODEL, "MODEL")
    texts: tuple[str, ...] = argument(
        f"{TEXTS}; without it, what the run held out", "TEXT", default=()
    )
    out: Path | None = option(
        None, "Write the page to this file", flags=("--out", "-o"), default_note="NAME.html"
    )
    weights: str = option("int8", "Number format of the weights in the page", choices=FORMATS)
    prompt: str = option("", "The prompt that the page begins with")
    force: bool = option(False, "Replace the file if it is there")
    options: ScoreOptions

    @property
    def name(self) -> str:
        """The name of the model, after its folder or file."""
        path = self.model.resolve()
        return path.parent.name if path.name == "model.safetensors" else path.stem

    @property
    def path(self) -> Path:
        """Where the page is written."""
        return self.out or Path(f"{self.name}.html")

    def check_path(self) -> None:
        """Raise `MachineError` if the page's file is there already, or cannot be replaced."""
        check_new(self.path, force=self.force)

    def evaluation(self) -> EvalRequest:
        """Return the request for the score."""
        return EvalRequest(model=self.model, texts=self.texts, options=self.options)


def check_new(path: Path, *, force: bool) -> None:
    """Raise `MachineError` if a file is there and not to be replaced, or has no folder."""
    check_regular(path)
    if path.exists() and not force:
        hint = "Give another name with `out`, or add `force` to replace it."
        raise MachineError(f"{display_path(path)} is already there.", hint)
    if not path.parent.is_dir():
        name = display_path(path.parent)
        raise MachineError(f"Cannot write {display_path(path)}: there is no folder {name}.")
