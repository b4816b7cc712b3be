"""`charrnn data`: write a sample text to train on."""

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from charrnn.cli.program import program
from charrnn.config.fields import option
from charrnn.data.datasets import DATASETS, write_dataset
from charrnn.terminal.console import show_note, write_json, write_text
from charrnn.terminal.tables import write_table


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options of `charrnn data`."""

    name: str | None = option(
        None,
        "Which text; without it, list the names",
        choices=tuple(DATASETS),
        metavar="NAME",
        positional=True,
    )
    folder: Path = option(Path("data"), "Where to write it", metavar="FOLDER")
    json: bool = option(False, "Write the result as one JSON object")


def data(options: DataOptions) -> None:
    """Write a sample text for training to data/."""
    if options.name is None:
        if options.json:
            write_json({"texts": DATASETS})
        else:
            write_table(list(DATASETS.items()))
        return
    path = write_dataset(options.name, options.folder)
    if options.json:
        text = path.read_bytes()
        facts = {"name": path.stem, "sha256": hashlib.sha256(text).hexdigest()}
        sizes = {"characters": len(text.decode()), "bytes": len(text)}
        write_json({"path": str(path), "text": facts | sizes})
        return
    show_note(f"Next: {program()} train {shlex.quote(str(path))}")
    write_text(f"{path}\n")
