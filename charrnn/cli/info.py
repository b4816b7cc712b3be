"""`charrnn info`: what a model file contains."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.api import load
from charrnn.config.fields import argument, option
from charrnn.errors import ModelFileError
from charrnn.evaluation.request import MODEL
from charrnn.model.shapes import parameter_count, table_size
from charrnn.storage.atomic import display_path
from charrnn.terminal.console import write_json
from charrnn.terminal.tables import info_rows, write_table


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """The options of `charrnn info`."""

    model: Path = argument(MODEL, "MODEL")
    json: bool = option(False, "Write the result as one JSON object")


def info(options: InfoOptions) -> None:
    """Show what a model contains and how it was trained."""
    saved = load(options.model).saved
    facts = saved.about | {  # values that were checked come last, so the file cannot replace them
        "config": saved.config.to_dict(),
        "parameters": parameter_count(saved.config),
        "table_parameters": table_size(saved.config),
        "tokenizer": saved.tokenizer.kind,
        "sha256": saved.sha256,
    }
    if isinstance(text := facts.get("text"), dict):
        facts["text"] = {name: one for name, one in text.items() if name != "sketch"}
    if options.json:
        write_json(facts)
        return
    try:
        rows = info_rows(facts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        name = display_path(options.model)
        message = f"{name} has invalid facts about its training, which charrnn did not write."
        raise ModelFileError(message) from error
    write_table(rows)
