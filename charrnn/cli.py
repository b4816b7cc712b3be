"""The command line: options in, one call down, events out. `charrnn.__main__` turns errors into exit codes.

Nothing here imports torch at the top, so that help, usage errors and sampling start at once.
"""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn import commands
from charrnn.config import ModelConfig, TrainConfig
from charrnn.presets import PRESETS, SETTLED
from charrnn.sampling import SamplingConfig

app = typer.Typer(
    help="Train recurrent language models on a text, sample from them, and learn how well they predict.",
    epilog="Exit codes: 0 ok, 1 a bug in charrnn, 2 usage, 3 the input text, 4 a model file, 5 the machine "
    "(disk, permission, device), 6 training diverged, 130 interrupted, 143 terminated.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

SPECS = {spec.name: spec for kind in (ModelConfig, TrainConfig, SamplingConfig) for spec in fields(kind)}


def whole(text: str | int) -> int:
    """Read a whole number; 1_000 and 1e3 are fine. A default, which is a number already, comes here too."""
    try:
        return int(text)
    except ValueError:
        number = decimal(text)
    if not number.is_integer():
        raise typer.BadParameter(f"{text!r} is not a whole number.")
    return int(number)


def decimal(text: str | float) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number.") from None


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read a duration: 90, 90s, 5m, 1.5h, 1h30m."""
    total, number = 0.0, ""
    given = text.strip().lower()
    for character in given + ("" if given[-1:] in UNITS else "s"):
        if character in UNITS and number:
            total, number = total + decimal(number) * UNITS[character], ""
        else:
            number += character
    if number or total <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m.")
    return total


def setting(name: str, panel: str, kind: type = str, *flags: str) -> Any:
    """Declare the option of a configuration's field: its help and choices stand beside the field."""
    spec, meaning = SPECS[name].metadata, SPECS[name].metadata["meaning"]
    parser = {int: whole, float: decimal}.get(kind)
    metavar = "|".join(spec["choices"]) or {int: "N", float: "X", str: "TEXT", bool: ""}[kind]
    names = flags or (f"--{name.replace('_', '-')}" + (f"/--no-{name.replace('_', '-')}" if kind is bool else ""),)
    extra: dict[str, Any] = {} if kind is bool else {"parser": parser, "metavar": metavar}
    return typer.Option(
        *names, help=f"{meaning}{default_shown(name)}.", rich_help_panel=panel, show_default=False, **extra
    )


def default_shown(name: str) -> str:
    """Say what holds if an option is not given."""
    default = SPECS[name].default
    if name in SETTLED:
        return " (default: what fits the text and the time)"
    if default is None:
        return ""
    return f" (default: {'on' if default is True else 'off' if default is False else default})"


MODEL, DATA, LEARN, LENGTH, REPORT = "Model", "Text and batches", "Learning", "Length", "Reports and files"
WRITE = "Writing"
Texts = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="UTF-8 files (.gz, .bz2, .xz too), folders, or - for standard input.",
        show_default=False,
    ),
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A run folder or a model file.", show_default=False)]
Encoding = Annotated[
    str, typer.Option(help="Encoding of the text, if it is not UTF-8.", metavar="NAME", rich_help_panel=DATA)
]
Json = Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")]


@app.command(epilog="Examples: charrnn train shakespeare.txt   |   charrnn train notes/ --preset quick --cell gru")
def train(
    texts: Texts,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Run folder; checkpoints/NAME if not given.", rich_help_panel=REPORT, show_default=False
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings that fit a budget of time.",
            metavar="|".join(PRESETS),
            rich_help_panel=LENGTH,
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Train for so many passes over the text.",
            parser=decimal,
            metavar="X",
            rich_help_panel=LENGTH,
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int | None, setting("steps", LENGTH, int)] = None,
    time_: Annotated[
        float | None,
        typer.Option(
            "--time",
            help="Finish in about this time: 90s, 5m, 1h30m.",
            parser=seconds,
            metavar="TIME",
            rich_help_panel=LENGTH,
            show_default=False,
        ),
    ] = None,
    patience: Annotated[int | None, setting("patience", LENGTH, int)] = None,
    cell: Annotated[str | None, setting("cell", MODEL)] = None,
    activation: Annotated[str | None, setting("activation", MODEL)] = None,
    num_layers: Annotated[int | None, setting("num_layers", MODEL, int)] = None,
    hidden_size: Annotated[int | None, setting("hidden_size", MODEL, int)] = None,
    embedding_size: Annotated[int | None, setting("embedding_size", MODEL, int)] = None,
    dropout: Annotated[float | None, setting("dropout", MODEL, float)] = None,
    layer_norm: Annotated[bool | None, setting("layer_norm", MODEL, bool)] = None,
    residual: Annotated[bool | None, setting("residual", MODEL, bool)] = None,
    tied: Annotated[bool | None, setting("tied", MODEL, bool)] = None,
    forget_bias: Annotated[float | None, setting("forget_bias", MODEL, float)] = None,
    orthogonal: Annotated[bool | None, setting("orthogonal", MODEL, bool)] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Start from this model's weights and vocabulary.",
            metavar="MODEL",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    tokenizer: Annotated[str | None, setting("tokenizer", DATA)] = None,
    batcher: Annotated[str | None, setting("batcher", DATA)] = None,
    batch_size: Annotated[int | None, setting("batch_size", DATA, int)] = None,
    seq_len: Annotated[int | None, setting("seq_len", DATA, int)] = None,
    bptt: Annotated[str | None, setting("bptt", DATA)] = None,
    bptt_stride: Annotated[int | None, setting("bptt_stride", DATA, int)] = None,
    valid: Annotated[
        list[str] | None,
        typer.Option(
            help="Validate on this text, and train on all of TEXT.",
            metavar="TEXT",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    valid_fraction: Annotated[float | None, setting("valid_fraction", DATA, float)] = None,
    encoding: Encoding = "utf-8",
    optimizer: Annotated[str | None, setting("optimizer", LEARN)] = None,
    lr: Annotated[float | None, setting("lr", LEARN, float)] = None,
    lr_floor: Annotated[float | None, setting("lr_floor", LEARN, float)] = None,
    warmup: Annotated[float | None, setting("warmup", LEARN, float)] = None,
    weight_decay: Annotated[float | None, setting("weight_decay", LEARN, float)] = None,
    clip_norm: Annotated[float | None, setting("clip_norm", LEARN, float)] = None,
    clip_value: Annotated[float | None, setting("clip_value", LEARN, float)] = None,
    seed: Annotated[int | None, setting("seed", LEARN, int)] = None,
    device: Annotated[str | None, setting("device", LEARN)] = None,
    precision: Annotated[str | None, setting("precision", LEARN)] = None,
    threads: Annotated[int | None, setting("threads", LEARN, int)] = None,
    eval_every: Annotated[int | None, setting("eval_every", REPORT, int)] = None,
    save_every: Annotated[int | None, setting("save_every", REPORT, int)] = None,
    log_every: Annotated[int | None, setting("log_every", REPORT, int)] = None,
    sample_every: Annotated[int | None, setting("sample_every", REPORT, int)] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Read settings from this JSON or TOML file, such as a run's config.json.",
            metavar="FILE",
            rich_help_panel=REPORT,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show size, memory and time; train nothing.", rich_help_panel=REPORT)
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin again; a run that is there is moved aside.", rich_help_panel=REPORT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.", rich_help_panel=REPORT)
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="At the end, write the result as one JSON object.", rich_help_panel=REPORT)
    ] = False,
) -> None:
    """Train a model on a text, or continue a run that was interrupted."""
    options = locals()
    given = {name: options[name] for name in SPECS if options.get(name) is not None}
    settings = (commands.read_config(config) if config else {}) | given
    if (epochs, time_) != (None, None) and steps is None:
        settings.pop("steps", None)  # the file's, which what was given here replaces
    if valid and valid_fraction is None:
        settings.pop("valid_fraction", None)
    commands.train(
        commands.TrainOptions(
            texts=texts,
            valid=valid or [],
            encoding=encoding,
            settings=settings,
            preset=preset,
            epochs=epochs,
            seconds=time_,
            init_from=init_from,
            out=out,
            dry_run=dry_run,
            fresh=fresh,
            quiet=quiet,
            json=json_,
        )
    )


@app.command(epilog='Example: charrnn sample checkpoints/shakespeare "ROMEO:" --length 300 --seed 7')
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
    json_: Json = False,
) -> None:
    """Write new text to standard output, as it is made."""
    options = locals()
    names = [spec.name for spec in fields(SamplingConfig)]
    settings = {name: options[name] for name in names if options[name] is not None}
    commands.sample(model, prompt, settings, seed=seed, num=num, as_json=json_)


@app.command("eval", epilog="Example: charrnn eval checkpoints/shakespeare held_out.txt --json")
def evaluate(
    model: ModelPath,
    texts: Texts,
    valid_fraction: Annotated[
        float | None,
        typer.Option(
            help="Score only this share of the text, at its end: 0.1 is what training held out.",
            parser=decimal,
            metavar="X",
            show_default=False,
        ),
    ] = None,
    reset_every: Annotated[
        int | None,
        typer.Option(
            help="Forget the context after every so many tokens, as transformers are scored.",
            parser=whole,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score in one serial pass, not in parallel segments with warm-up.")
    ] = False,
    unknown: Annotated[
        str, typer.Option(help="Charge unknown characters honestly, or refuse them.", metavar="charge|error")
    ] = "charge",
    device: Annotated[str | None, setting("device", "Computing")] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of the matrix products.", metavar="fp32|bf16|fp16|auto", rich_help_panel="Computing"
        ),
    ] = "fp32",
    threads: Annotated[int | None, setting("threads", "Computing", int)] = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Score a text: perplexity, bits per character and per byte."""
    options = commands.EvalOptions(
        texts=texts,
        encoding=encoding,
        valid_fraction=valid_fraction,
        reset_every=reset_every,
        exact=exact,
        unknown=unknown,
        device=device or "auto",
        precision=precision,
        threads=threads,
    )
    commands.evaluate(model, options, as_json=json_)


@app.command(epilog="Example: charrnn info checkpoints/shakespeare")
def info(model: ModelPath, json_: Json = False) -> None:
    """Show what is in a model."""
    commands.info(model, as_json=json_)


@app.command(epilog="Example: charrnn data python-docs")
def data(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Which text; without it, the names there are.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where to write it.", metavar="FOLDER")] = Path("data"),
) -> None:
    """Write a text to try things on into data/."""
    commands.data(name, folder)


def show_version(wanted: bool) -> None:
    """Write the version and leave."""
    if wanted:
        commands.version()
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Train recurrent language models on a text, sample from them, and learn how well they predict."""
