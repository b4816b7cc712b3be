"""Settings from a file, such as a run's config.json."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.errors import UsageError
from charrnn.storage.atomic import display_path
from charrnn.tokenizers import FIXED_SIZE


def read_config(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a JSON or TOML file, overridden by those in `given`.

    The file's vocab_size may be the outcome of a run, so it is used only with the file's own
    tokenizer, and only if that tokenizer has no fixed size.

    Raises:
        UsageError: The file cannot be read, or is neither JSON nor TOML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        folder = path.parent
        near = sorted(other.name for other in folder.iterdir()) if folder.is_dir() else []
        message = f"Cannot read {display_path(path)}: {error.strerror}."
        raise UsageError(message, meant=(path.name, near)) from None
    name = "TOML" if path.suffix == ".toml" else "JSON"
    try:
        values = tomllib.loads(content.decode()) if name == "TOML" else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not {name}: {error}.") from None
    if not isinstance(values, dict):
        found = type(values).__name__
        raise UsageError(f"{path} should hold a table of settings, not {found}.")
    return _merged(values, given)


def _merged(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in values.items() if value is not None} | dict(given)
    kind = settings.get("tokenizer", "char")
    others = values.get("tokenizer") not in (None, kind)
    if "vocab_size" not in given and (kind in FIXED_SIZE or others):
        settings.pop("vocab_size", None)
    if "source_vocab_size" not in given and settings.get("source_tokenizer") in (None, *FIXED_SIZE):
        settings.pop("source_vocab_size", None)
    return settings
