"""The options of `charrnn train`."""

from pathlib import Path
from typing import Annotated

import typer

from charrnn import commands
from charrnn.cli.options import (
    DATA,
    LEARN,
    LENGTH,
    MODEL,
    REPORT,
    SPECS,
    Encoding,
    Texts,
    decimal,
    seconds,
    setting,
)
from charrnn.config.presets import PRESETS


def train(
    texts: Texts,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Run folder; checkpoints/NAME if not given.",
            rich_help_panel=REPORT,
            show_default=False,
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
    attention: Annotated[int | None, setting("attention", MODEL, int)] = None,
    tied: Annotated[bool | None, setting("tied", MODEL, bool)] = None,
    adaptive: Annotated[bool | None, setting("adaptive", MODEL, bool)] = None,
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
    vocab_size: Annotated[int | None, setting("vocab_size", DATA, int)] = None,
    records: Annotated[
        str | None,
        setting(
            "records", DATA, str, "--records", "--document-separator", metavar="lines|SEPARATOR"
        ),
    ] = None,
    batcher: Annotated[str | None, setting("batcher", DATA)] = None,
    batch_size: Annotated[int | None, setting("batch_size", DATA, int)] = None,
    seq_len: Annotated[int | None, setting("seq_len", DATA, int)] = None,
    seq_len_start: Annotated[int | None, setting("seq_len_start", DATA, int)] = None,
    accumulate: Annotated[int | None, setting("accumulate", DATA, int)] = None,
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
    backend: Annotated[str | None, setting("backend", LEARN)] = None,
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
        bool,
        typer.Option(
            "--dry-run", help="Show size, memory and time; train nothing.", rich_help_panel=REPORT
        ),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Begin again; a run that is there is moved aside.",
            rich_help_panel=REPORT,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Show warnings and errors only.", rich_help_panel=REPORT
        ),
    ] = False,
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="At the end, write the result as one JSON object.",
            rich_help_panel=REPORT,
        ),
    ] = False,
) -> None:
    """Train a model on a text, or continue a run that was interrupted."""
    options = locals()
    given = {name: options[name] for name in SPECS if options.get(name) is not None}
    settings = commands.read_config(config, given) if config else given
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
