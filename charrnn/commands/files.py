"""`charrnn info` and `data`, the version, and the settings that a file gives."""

import json
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.api import load
from charrnn.data.datasets import DATASETS, write_dataset
from charrnn.errors import ModelFileError, UsageError, did_you_mean
from charrnn.model.shapes import parameter_count
from charrnn.storage.atomic import shown
from charrnn.terminal import console
from charrnn.tokenizers import FIXED
from charrnn.version import __version__


def info(model: Path, *, as_json: bool) -> None:
    """Show what is in a model."""
    saved = load(model).saved
    facts = (
        saved.about
        | {  # what was checked comes last, so that nothing a file says about itself replaces it
            "config": saved.config.to_dict(),
            "parameters": parameter_count(saved.config),
            "tokenizer": saved.tokenizer.kind,
            "sha256": saved.sha256,
        }
    )
    if as_json:
        console.write_json(facts)
        return
    try:
        rows = console.info_rows(facts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{shown(model)} says about its training what charrnn would not write."
        ) from error
    console.write_table(rows)


def data(name: str | None, folder: Path) -> None:
    """Write a text to try things on, or list those there are."""
    if name is None:
        console.write_table(list(DATASETS.items()))
        return
    path = write_dataset(name, folder)
    console.show_note(f"Next: charrnn train {shlex.quote(str(path))}")
    sys.stdout.write(f"{path}\n")


def version() -> None:
    """Write the version."""
    sys.stdout.write(f"charrnn {__version__}\n")


def read_config(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a JSON or TOML file, and those that were `given`, which win.

    The file's vocab_size may be that of a run, so it holds for the file's own tokenizer, and if
    that has a choice.

    Raises:
        UsageError: It cannot be read, or is neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        near = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        raise UsageError(
            f"Cannot read {shown(path)}: {error.strerror}.", did_you_mean(path.name, near)
        ) from None
    try:
        values = tomllib.loads(content.decode()) if path.suffix == ".toml" else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}."
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} should hold a table of settings, not {type(values).__name__}.")
    settings = {name: value for name, value in values.items() if value is not None} | dict(given)
    kind = settings.get("tokenizer", "char")
    if "vocab_size" not in given and (kind in FIXED or values.get("tokenizer") not in (None, kind)):
        settings.pop("vocab_size", None)
    return settings
