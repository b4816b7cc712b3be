"""The options of `charrnn sample`."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import commands
from charrnn.cli.options import WRITE, Json, ModelPath, setting, whole
from charrnn.sampling import SamplingConfig

RULES = "How it chooses"
Seed = Annotated[
    int | None,
    typer.Option(
        help="The same seed gives the same text; a new one is drawn, and told, if not given.",
        parser=whole,
        metavar="N",
        show_default=False,
    ),
]
Length = Annotated[int | None, setting("length", WRITE, int, "--length", "-n")]
Temperature = Annotated[float | None, setting("temperature", RULES, float, "--temperature", "-t")]
TopK = Annotated[int | None, setting("top_k", RULES, int)]
TopP = Annotated[float | None, setting("top_p", RULES, float)]
MinP = Annotated[float | None, setting("min_p", RULES, float)]
NoRepeat = Annotated[int | None, setting("no_repeat", RULES, int)]


def sample(
    model: ModelPath,
    prompt: Annotated[
        str, typer.Argument(help="Text to go on from; - reads it from standard input.")
    ] = "",
    prompt_file: Annotated[
        Path | None,
        typer.Option(help="Go on from what this file holds.", metavar="FILE", show_default=False),
    ] = None,
    length: Length = None,
    stop: Annotated[list[str] | None, setting("stop", WRITE)] = None,
    until: Annotated[str | None, setting("until", WRITE)] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    no_repeat: NoRepeat = None,
    beam: Annotated[
        int | None,
        typer.Option(
            help="Draw nothing: follow so many texts at once to the likeliest, and write --num of them.",
            parser=whole,
            metavar="N",
            show_default=False,
            rich_help_panel=RULES,
        ),
    ] = None,
    seed: Seed = None,
    num: Annotated[int, typer.Option(help="Texts to write.", parser=whole, metavar="N")] = 1,
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
        typer.Option(
            "--novel",
            help="Leave out the records that stand in --training-text.",
            rich_help_panel=WRITE,
        ),
    ] = False,
    echo: Annotated[
        bool,
        typer.Option(
            "--echo/--no-echo",
            help="Write the prompt before the text (default: on).",
            show_default=False,
        ),
    ] = True,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", "-i", help="Write in turns with you; /help there lists the commands."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Write new text to standard output, as it is made."""
    options = commands.SampleOptions(
        prompt=prompt,
        prompt_file=prompt_file,
        settings=given_settings(locals()),
        seed=seed,
        num=num,
        beam=beam,
        echo=echo,
        interactive=interactive,
        training_text=training_text,
        novel=novel,
        as_json=json_,
    )
    commands.sample(model, options)


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings among a command's options that were given."""
    names = [spec.name for spec in fields(SamplingConfig) if spec.name in options]
    return {name: options[name] for name in names if options[name] not in (None, [])}
