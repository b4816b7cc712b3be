"""The options of `charrnn sample`."""

from dataclasses import fields
from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import WRITE, Json, ModelPath, setting, whole
from charrnn.sampling import SamplingConfig


def sample(
    model: ModelPath,
    prompt: Annotated[str, typer.Argument(help="Text to go on from; - reads it from standard input.")] = "",
    length: Annotated[int | None, setting("length", WRITE, int, "--length", "-n")] = None,
    temperature: Annotated[float | None, setting("temperature", WRITE, float, "--temperature", "-t")] = None,
    top_k: Annotated[int | None, setting("top_k", WRITE, int)] = None,
    top_p: Annotated[float | None, setting("top_p", WRITE, float)] = None,
    stop: Annotated[str | None, setting("stop", WRITE)] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same text; a new one is drawn, and told, if not given.",
            parser=whole,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Texts to write, side by side.", parser=whole, metavar="N")] = 1,
    unknown: Annotated[str | None, setting("unknown", WRITE)] = None,
    training_text: Annotated[
        str | None,
        typer.Option(
            help="Mark the records that stand in this text, for a model trained with --records.",
            metavar="TEXT",
            rich_help_panel=WRITE,
            show_default=False,
        ),
    ] = None,
    novel: Annotated[
        bool,
        typer.Option("--novel", help="Leave out the records that stand in --training-text.", rich_help_panel=WRITE),
    ] = False,
    json_: Json = False,
) -> None:
    """Write new text to standard output, as it is made."""
    options = locals()
    names = [spec.name for spec in fields(SamplingConfig)]
    settings = {name: options[name] for name in names if options[name] is not None}
    records = commands.RecordOptions(training_text=training_text, novel=novel)
    commands.sample(model, prompt, settings, records, seed=seed, num=num, as_json=json_)
