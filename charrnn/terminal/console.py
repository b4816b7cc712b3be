"""What a person sees. Results go to standard output; everything else goes to standard error.

On a terminal the training shows a live bar; in a pipe, or with TERM=dumb, plain lines. NO_COLOR is
obeyed. Text that a model or a file made is never read as markup.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from charrnn.errors import CharRNNError
from charrnn.sampling import visible as visible

if TYPE_CHECKING:
    from charrnn.evaluation.novelty import Copied
    from charrnn.evaluation.scoring import Score


def interactive(stream: Any) -> bool:
    """Return whether `stream` is a terminal that can move its cursor."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def stderr_console() -> Console:
    """Return the console for messages; FORCE_COLOR may colour it, but never makes it move."""
    live = interactive(sys.stderr)
    return Console(
        stderr=True,
        force_interactive=live,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def show_error(error: CharRNNError) -> None:
    """Write what is wrong and what to do, on one line each."""
    console = stderr_console()
    console.print(
        f"charrnn: {visible(error.message)}", style="bold red" if error.exit_code < 128 else "bold"
    )
    if error.hint:
        console.print(f"  {visible(error.hint)}")


def show_note(text: str) -> None:
    """Write a line that a person should know, but that is no result."""
    stderr_console().print(visible(text))


def write_json(value: Any) -> None:
    """Write one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_text(text: str) -> None:
    """Write generated text on standard output at once.

    On a terminal, control characters become visible.
    """
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


COLOURS = (
    "black on bright_cyan",
    "black on bright_yellow",
    "black on bright_green",
    "black on bright_magenta",
)


def write_coloured(pieces: list[tuple[int, str, bool]]) -> bool:
    r"""Write pieces of text on standard output in alternating colours, if it is a terminal that has any.

    Args:
        pieces: For each its number, its text with everything visible, and whether it is to be
            marked.

    Returns:
        Whether it was written.
    """
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal or console.color_system is None or console.no_color:
        return False
    for number, (_, text, marked) in enumerate(pieces):
        console.print(
            text, style="bold white on red" if marked else COLOURS[number % len(COLOURS)], end=""
        )
        if text.endswith("\\n"):
            console.print()
    console.print()
    return True


def write_table(rows: list[tuple[str, str]], title: str = "") -> None:
    """Write names and values on standard output, aligned."""
    width = max(len(name) for name, _ in rows)
    if title:
        sys.stdout.write(f"{title}\n")
    for name, value in rows:
        sys.stdout.write(f"  {name:<{width}}  {visible(value)}\n")


def write_columns(rows: Sequence[Sequence[str]]) -> None:
    """Write rows of cells, of which the first one names the columns, on standard output, aligned."""
    names, *others = ([visible(cell) for cell in column] for column in zip(*rows, strict=True))
    columns = [[cell.ljust(max(map(len, names))) for cell in names]]
    columns += [[cell.rjust(max(map(len, column))) for cell in column] for column in others]
    for cells in zip(*columns, strict=True):
        sys.stdout.write(f"  {'  '.join(cells).rstrip()}\n")


def duration(seconds: float) -> str:
    """Write a duration as 4.2 s, 1:05 or 2:03:04."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(count: float) -> str:
    """Write a number of bytes in megabytes."""
    return f"{count / 1e6:,.1f} MB"


def switched_on(config: Mapping[str, Any]) -> list[str]:
    """Name the parts that a model's configuration switches on."""
    squashing = (
        [config["activation"]] if config["cell"] == "rnn" and config["activation"] != "tanh" else []
    )
    names = [
        name.replace("_", " ")
        for name in ("layer_norm", "residual", "tied", "adaptive")
        if config[name]
    ]
    return squashing + names + ([f"attention {config['attention']}"] if config["attention"] else [])


def score_rows(score: "Score", facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of a score's table; `facts` are what `charrnn eval --json` writes of it."""
    rows = [("bits per character", f"{score.bits_per_char:.4f}")]
    if facts.get("interval"):
        rows.append(("95 % interval", "{:.4f} to {:.4f}".format(*facts["interval"])))
    rows += [
        ("bits per byte", f"{score.bits_per_byte:.4f}"),
        ("nats per token", f"{score.nats_per_token:.4f}"),
        ("perplexity per token", f"{score.perplexity:.4f}"),
        ("tokens", f"{score.tokens:,}"),
        ("characters", f"{score.characters:,}"),
        ("bytes", f"{score.bytes:,}"),
        ("unknown tokens", f"{score.unknown:,}"),
    ]
    if score.unknown:
        rows.append(("perplexity without them", f"{score.perplexity_known:.4f}"))
    return [*rows, ("signature", facts["signature"])]


def write_score(score: "Score", facts: Mapping[str, Any]) -> None:
    """Write a score's table, and below it the model beside dynamic evaluation and the baselines."""
    write_table(score_rows(score, facts))
    rows: list[Mapping[str, Any]] = [{"name": "model"} | score.to_dict()]
    if dynamic := facts.get("dynamic"):
        rows.append({"name": "model, dynamic evaluation"} | dynamic)
    rows += facts["baselines"]
    if len(rows) > 1:
        shown = [
            [row["name"], f"{row['bits_per_char']:.4f}", f"{row['bits_per_byte']:.4f}"]
            for row in rows
        ]
        sys.stdout.write("\n")
        write_columns([["", "bits/char", "bits/byte"], *shown])
    if dynamic:
        change = 1 - dynamic["nats"] / score.nats
        sys.stdout.write("\n")
        said = f"{abs(change):.2%} {'fewer' if change >= 0 else 'more'} bits than without"
        write_table([("dynamic evaluation", said), ("signature", dynamic["signature"])])


def write_comparison(
    models: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]]
) -> None:
    """Write models side by side, and the baselines below them, on standard output."""
    head = [
        "",
        "parameters",
        "tokens/char",
        "perplexity/token",
        "bits/char",
        "bits/byte",
        "chars/s",
    ]
    rows = [head]
    for model in models:
        perplexity = model["perplexity"]
        rows.append(
            [
                model["model"],
                f"{model['parameters']:,}",
                f"{model['tokens_per_char']:.3f}",
                "over 1e300" if perplexity is None else f"{perplexity:,.2f}",
                f"{model['bits_per_char']:.4f}",
                f"{model['bits_per_byte']:.4f}",
                f"{model['chars_per_second']:,.0f}",
            ]
        )
    for cost in baselines:
        rows.append(
            [
                cost["name"],
                "",
                "",
                "",
                f"{cost['bits_per_char']:.4f}",
                f"{cost['bits_per_byte']:.4f}",
                "",
            ]
        )
    write_columns(rows)


def novelty_table(columns: Mapping[str, "Copied"]) -> list[list[str]]:
    """Return the rows that say how much of some texts stands in a training text, and the longest passages."""
    texts = list(columns.values())
    rows = [
        ["characters", *(f"{one.characters:,}" for one in texts)],
        ["longest copied passage", *(f"{len(one.passage):,}" for one in texts)],
    ]
    for size in texts[0].shares:
        shares = [one.shares[size] for one in texts]
        name = f"substrings of {size} that are copied"
        rows.append([name, *("-" if share is None else f"{share:.2%}" for share in shares)])
    return [["", *columns], *rows]


def info_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of what a model file says about itself."""
    config, text, valid = facts["config"], facts.get("text", {}), facts.get("valid", {})
    shape = f"{config['cell']} {config['num_layers']} x {config['hidden_size']}"
    rows = [
        ("model", ", ".join([shape, *switched_on(config)])),
        ("parameters", f"{facts['parameters']:,}"),
        ("tokenizer", f"{facts['tokenizer']}, {config['vocab_size']:,} symbols"),
        (
            "trained on",
            f"{text.get('name')}, {text.get('train', 0):,} characters, {facts.get('epochs', 0):g} epochs",
        ),
        ("step", f"{facts.get('step', 0):,}"),
    ]
    if records := facts.get("train", {}).get("records"):
        rows.append(("records", f"{records}, each from a state of zero"))
    if valid:
        rows.append(
            (
                "validation",
                f"{valid['nats_per_token']:.4f} nats per token, {valid['bits_per_char']:.3f} bits per character",
            )
        )
    return [*rows, ("made by", f"charrnn {facts.get('charrnn')}"), ("SHA-256", facts["sha256"])]
