"""Measure scoring: its speed, what dynamic evaluation gains, and what the baselines cost.

    python tests/benchmarks/scoring.py --model checkpoints/shakespeare \\
        --text data/shakespeare.txt --threads 1

Speed is that of the first million characters of the text, in one process, the model already loaded,
beside a serial pass, which is `charrnn eval --exact`. Everything else is about the text's last
tenth, which the model must not have been trained on. Prints a Markdown table; --json writes the
figures too.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from bench import machine

from charrnn.api import Model, load
from charrnn.config.dynamic import DynamicConfig
from charrnn.data.formats import train_length
from charrnn.evaluation import baselines
from charrnn.evaluation.score import LN2, Score, ScoringProtocol
from charrnn.runtime.device import prepare_cpu

Row = dict[str, Any]
Result = TypeVar("Result")
CHARACTERS = 1_000_000


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def row(figure: str, score: Score, seconds: float) -> Row:
    """Return a line of the table."""
    rate = score.characters / seconds
    return {
        "figure": figure,
        "nats/char": score.nats / score.characters,
        "seconds": seconds,
        "chars/s": rate,
    }


def speed(model: Model, text: str) -> list[Row]:
    """Score the beginning of a text in one serial pass, and in segments side by side."""
    encoded, rows = model.encode(text[:CHARACTERS]), list[Row]()
    for name, protocol, precision in (
        ("serial, fp32", ScoringProtocol.exact(), "fp32"),
        ("segments, fp32", ScoringProtocol.carried(), "fp32"),
        ("segments, auto", ScoringProtocol.carried(), "auto"),
    ):
        scorer = model.scorer(precision=precision)
        scorer.score(model.encode(text[:20_000]), protocol)  # a warm start
        found, seconds = timed(partial(scorer.score, encoded, protocol))
        line = row(f"{name}, {encoded.characters:,} characters", found.score, seconds)
        if rows:
            apart = abs(line["nats/char"] - rows[0]["nats/char"])
            times = rows[0]["seconds"] / seconds
            line["beside"] = f"{times:.1f} times the serial pass, {apart:.6f} nats apart"
        rows.append(line)
    return rows


def learning(model: Model, text: str) -> list[Row]:
    """Score a held-out text as it is and with dynamic evaluation."""
    scorer, encoded = model.scorer(), model.encode(text)
    static, seconds = timed(lambda: scorer.score(encoded, ScoringProtocol.carried()).score)
    rows = [row("held-out tenth, static", static, seconds)]
    found, seconds = timed(lambda: scorer.dynamic_score(encoded, DynamicConfig()))
    gain = f"{1 - found.nats / static.nats:.2%} better"
    return [*rows, row("held-out tenth, dynamic", found, seconds) | {"beside": gain}]


def without_model(train: str, text: str) -> list[Row]:
    """Score the baselines, all that was trained on given."""
    rows, start = list[Row](), time.perf_counter()
    for cost in baselines.primed(train, text):
        seconds = time.perf_counter() - start
        rate = (len(train) + len(text)) / seconds
        rows.append(
            {
                "figure": cost.name,
                "nats/char": cost.bits_per_char * LN2,
                "seconds": seconds,
                "chars/s": rate,
            }
        )
        start = time.perf_counter()
    return rows


def table(rows: list[Row], head: str) -> str:
    """Return the rows as Markdown, under a line about the machine."""
    lines = [
        head,
        "",
        "| figure | nats/char | bits/char | seconds | chars/s | |",
        "|---|---|---|---|---|---|",
    ]
    for line in rows:
        nats = line["nats/char"]
        cells = [
            line["figure"],
            f"{nats:.4f}",
            f"{nats / LN2:.4f}",
            f"{line['seconds']:.2f}",
            f"{line['chars/s']:,.0f}",
        ]
        lines.append(f"| {' | '.join([*cells, line.get('beside', '')])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the figures if that is wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="all cores if not given")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    prepare_cpu(args.threads)
    with args.text.open(encoding="utf-8", newline="") as file:
        text = file.read()
    cut = train_length(len(text), 0.1)
    train, held_out = text[:cut], text[cut:]
    model, head = load(args.model), f"{machine()}; {torch.get_num_threads()} threads"
    rows = [*speed(model, text), *learning(model, held_out), *without_model(train, held_out)]
    print(table(rows, head))
    if args.json:
        args.json.write_text(
            json.dumps({"machine": head, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
