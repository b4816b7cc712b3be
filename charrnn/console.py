"""What a person sees. Results go to standard output; everything else goes to standard error.

On a terminal the training shows a live bar; in a pipe, or with TERM=dumb, plain lines. NO_COLOR is obeyed. Text that a
model or a file made is never read as markup.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from charrnn.errors import CharRNNError
from charrnn.sampling import visible

if TYPE_CHECKING:
    from charrnn.scoring import Score


def interactive(stream: Any) -> bool:
    """Return whether `stream` is a terminal that can move its cursor."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def stderr_console() -> Console:
    """Return the console for messages; FORCE_COLOR may colour it, but never makes it move."""
    live = interactive(sys.stderr)
    return Console(stderr=True, force_interactive=live, highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_error(error: CharRNNError) -> None:
    """Write what is wrong and what to do, on one line each."""
    console = stderr_console()
    console.print(f"charrnn: {visible(error.message)}", style="bold red" if error.exit_code < 128 else "bold")
    if error.hint:
        console.print(f"  {visible(error.hint)}")


def show_note(text: str) -> None:
    """Write a line that a person should know, but that is no result."""
    stderr_console().print(visible(text))


def write_json(value: Any) -> None:
    """Write one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_text(text: str) -> None:
    """Write generated text on standard output at once; on a terminal, control characters become visible."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_table(rows: list[tuple[str, str]], title: str = "") -> None:
    """Write names and values on standard output, aligned."""
    width = max(len(name) for name, _ in rows)
    if title:
        sys.stdout.write(f"{title}\n")
    for name, value in rows:
        sys.stdout.write(f"  {name:<{width}}  {visible(value)}\n")


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
    parts = [name.replace("_", " ") for name in ("layer_norm", "residual", "tied") if config[name]]
    return [*parts, f"attention {config['attention']}"] if config["attention"] else parts


def score_rows(score: "Score", signature: str) -> list[tuple[str, str]]:
    """Return the lines of a score's table."""
    rows = [
        ("bits per character", f"{score.bits_per_char:.4f}"),
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
    return [*rows, ("signature", signature)]


def info_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of what a model file says about itself."""
    config, text, valid = facts["config"], facts.get("text", {}), facts.get("valid", {})
    shape = f"{config['cell']} {config['num_layers']} x {config['hidden_size']}"
    rows = [
        ("model", ", ".join([shape, *switched_on(config)])),
        ("parameters", f"{facts['parameters']:,}"),
        ("tokenizer", f"{facts['tokenizer']}, {config['vocab_size']:,} symbols"),
        ("trained on", f"{text.get('name')}, {text.get('train', 0):,} characters, {facts.get('epochs', 0):g} epochs"),
        ("step", f"{facts.get('step', 0):,}"),
    ]
    if valid:
        rows.append(
            (
                "validation",
                f"{valid['nats_per_token']:.4f} nats per token, {valid['bits_per_char']:.3f} bits per character",
            )
        )
    return [*rows, ("made by", f"charrnn {facts.get('charrnn')}"), ("SHA-256", facts["sha256"])]
