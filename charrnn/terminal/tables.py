"""Results as aligned tables of plain text on standard output."""

import io
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charrnn.errors import counted
from charrnn.terminal.escape import visible
from charrnn.terminal.words import comparison_words, score_words

if TYPE_CHECKING:
    from charrnn.config.model import ModelConfig
    from charrnn.config.training import TrainConfig
    from charrnn.evaluation.novelty import Copied

UNLIMITED = 10_000  # columns of a table that is not written to a terminal
GAP = 2  # spaces between columns, and before the first
NGRAM_PATHS = {
    "input": "to the layers",
    "output": "past the layers",
    "both": "to the layers and past them",
}

Row = Sequence[str]
Facts = Mapping[str, Any]


def write_table(rows: Sequence[tuple[str, str]], title: str = "") -> None:
    """Write a table of names and values, with an optional title."""
    table = _plain_table()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(visible(value)))
    sys.stdout.write((f"{title}\n" if title else "") + _rendered(table))


def write_columns(head: Row, rows: Sequence[Row]) -> None:
    """Write rows under the names of their columns; all but the first column are right-aligned.

    A name such as bits/char takes two lines where the terminal is too narrow for the whole table.
    """
    columns = zip(head, *rows, strict=True)
    needed = sum(GAP + max(cell_len(visible(cell)) for cell in column) for column in columns)
    if needed > _width():
        head = [name.replace("/", "\n/") for name in head]
    table = _plain_table(show_header=True)
    for number, name in enumerate(head):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(Text(visible(name)), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    sys.stdout.write(_rendered(table))


def _plain_table(*, show_header: bool = False) -> Table:
    padding = (0, GAP, 0, 0)
    return Table(
        box=None, show_header=show_header, header_style="", pad_edge=False, padding=padding
    )


def _rendered(table: Table) -> str:
    """Return a table's lines, indented."""
    console = Console(file=io.StringIO(), width=_width() - GAP, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(table)
    lines = (f"{'':{GAP}}{line}".rstrip() for line in captured.get().splitlines())
    return "".join(f"{line}\n" for line in lines)


def _width() -> int:
    """Return the width of the terminal; no limit where there is none."""
    return Console(file=sys.stdout).width if sys.stdout.isatty() else UNLIMITED


def format_duration(seconds: float) -> str:
    """Return a duration as 4.2 s, 1:05 or 2:03:04."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_megabytes(count: float) -> str:
    """Return a number of bytes in megabytes."""
    return f"{count / 1e6:,.1f} MB"


def model_features(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the optional parts that a model's configuration turns on."""
    other_activation = config["cell"] == "rnn" and config["activation"] != "tanh"
    names = [config["activation"]] if other_activation else []
    switches = ("layer_norm", "residual", "tied", "adaptive")
    names += [name.replace("_", " ") for name in switches if config[name]]
    names += [f"attention {config['attention']}"] if config["attention"] else []
    names += [ngram_feature(config)] if config["ngram_embedding"] else []
    if window := config.get("match_window"):
        names.append(f"matches in the last {window:,} symbols")
    return names + ([source_feature(config["source"])] if config.get("source") else [])


def ngram_feature(config: Mapping[str, Any]) -> str:
    """Return in words which n-grams a model embeds, and where their embeddings go."""
    path = NGRAM_PATHS[config.get("ngram_path", "input")]
    return f"embeddings of up to {config['ngram_embedding']} symbols {path}"


def describe_batch(model: "ModelConfig", train: "TrainConfig") -> str:
    """Return the size of a batch: pairs, or rows by time steps."""
    if model.source is not None:
        return counted(train.batch_size, "pair")
    start = train.seq_len_start
    return f"{train.batch_size} x {f'{start} to ' if start else ''}{train.seq_len}"


def source_feature(source: Any) -> str:
    """Return in words what a model's texts depend on; the source is a configuration or a table."""
    facts = source if isinstance(source, Mapping) else vars(source)
    attention = "" if facts["source_attention"] == "none" else f" with {facts['source_attention']}"
    return f"source {facts['source']}{attention and attention + ' attention'}"


def described_source(source: Mapping[str, Any]) -> str:
    """Return in words how the sources of a model are read."""
    if source["source"] == "image":
        width = source["feature_size"]
        return f"features of width {width:,}" if width else f"pictures of {source['image_size']}"
    kind = "label" if source["source"] == "label" else source["source_tokenizer"]
    return f"{source['source']}, {counted(source['source_vocab_size'], f'{kind} symbol')}"


def score_rows(facts: Facts) -> list[tuple[str, str]]:
    """Return the rows of a score's table; `facts` are those that `charrnn eval --json` writes."""
    score, training = facts["score"], facts["training"]
    rows = [("bits per character", _number(score["bits_per_char"]))]
    interval = facts["interval"]
    shown = "{:.4f} to {:.4f}".format(*interval) if interval else f"none: {facts['no_interval']}"
    rows += [
        ("95 % interval", shown),
        ("bits per byte", _number(score["bits_per_byte"])),
        ("nats per token", _number(score["nats_per_token"])),
        ("perplexity per token", _number(score["perplexity"])),
        ("tokens", f"{score['tokens']:,}"),
        ("characters", f"{score['characters']:,}"),
        ("bytes", f"{score['bytes']:,}"),
        ("unknown tokens", f"{score['unknown']:,}"),
    ]
    if score["unknown"]:
        rows.append(("perplexity without them", _number(score["perplexity_known"])))
    share = training["overlap"]
    seen = "not known" if share is None else f"{share:.0%}" + " or so" * (0.005 < share < 0.995)
    return [*rows, ("seen in training", seen), ("signature", facts["signature"])]


def _number(value: float | None, spec: str = ",.4f") -> str:
    """Return a figure; one that is not finite is None in JSON."""
    return "over 1e300" if value is None else format(value, spec)


def write_score(facts: Facts) -> None:
    """Write a score, below it the model next to dynamic evaluation and the baselines, and words."""
    write_table(score_rows(facts))
    rows: list[Facts] = [{"name": "model", "score": facts["score"]}]
    if dynamic := facts.get("dynamic"):
        rows.append({"name": "model, dynamic evaluation"} | dynamic)
    rows += facts["baselines"]
    if len(rows) > 1:
        sys.stdout.write("\n")
        write_columns(["", "bits/char", "bits/byte"], [_bits(row) for row in rows])
    if dynamic:
        change = 1 - dynamic["score"]["nats"] / facts["score"]["nats"]
        difference = f"{abs(change):.2%} {'fewer' if change >= 0 else 'more'} bits than without"
        sys.stdout.write("\n")
        write_table([("dynamic evaluation", difference), ("signature", dynamic["signature"])])
    write_words(score_words(facts))


def _bits(row: Facts) -> list[str]:
    score = row["score"]
    return [row["name"], _number(score["bits_per_char"]), _number(score["bits_per_byte"])]


def write_comparison(facts: Facts) -> None:
    """Write models side by side, the baselines below them, and words; `facts` are those of JSON."""
    head = ["", "parameters", "tokens/char", "perplexity/token", "bits/char"]
    rows = [_comparison_row(model) for model in facts["models"]]
    for cost in facts["baselines"]:
        name, per_char, per_byte = _bits(cost)
        rows.append([name, "", "", "", per_char, per_byte, ""])
    if any(model["interval"] for model in facts["models"]):
        head.append("95 %")
        intervals = [model["interval"] for model in facts["models"]]
        for row, bounds in zip_longest(rows, intervals):
            row.insert(5, "{:.3f}-{:.3f}".format(*bounds) if bounds else "")
    write_columns([*head, "bits/byte", "chars/s"], rows)
    write_words(comparison_words(facts))


def _comparison_row(model: Facts) -> list[str]:
    score, first, count = model["score"], model["runs"][0]["model"], len(model["runs"])
    spread = "" if model["deviation"] is None else f" \u00b1 {model['deviation']:.4f}"
    return [
        model["name"] + (f" ({count} seeds)" if count > 1 else ""),
        f"{first['parameters']:,}",
        f"{model['tokens_per_char']:.3f}",
        _number(score["perplexity"], ",.2f"),
        _number(score["bits_per_char"]) + spread,
        _number(score["bits_per_byte"]),
        f"{model['chars_per_second']:,.0f}",
    ]


def write_words(sentences: Sequence[str]) -> None:
    """Write sentences that say what the figures above mean."""
    if sentences:
        text = Text(visible(" ".join(sentences)))
        console = Console(file=io.StringIO(), width=min(100, _width()), no_color=True)
        with console.capture() as captured:
            console.print(text)
        sys.stdout.write("\n" + captured.get())


def write_novelty(columns: Mapping[str, "Copied"]) -> None:
    """Write how much of some texts occurs in a training text, one column for each text."""
    texts = list(columns.values())
    rows = [
        ["characters", *(f"{one.characters:,}" for one in texts)],
        ["longest copied passage", *(f"{len(one.passage):,}" for one in texts)],
    ]
    for size in texts[0].shares:
        shares = [one.shares[size] for one in texts]
        shown = ("-" if share is None else f"{share:.2%}" for share in shares)
        rows.append([f"substrings of {size} that are copied", *shown])
    write_columns(["", *columns], rows)
