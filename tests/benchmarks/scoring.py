"""Measure scoring.

Its speed beside a serial pass, what dynamic evaluation gains, and what the baselines cost.

    python tests/benchmarks/scoring.py --model checkpoints/shakespeare --text data/shakespeare.txt
    --threads 1

Speed is that of the first million characters of the text, in one process, the model already loaded;
the serial pass is `charrnn eval --exact`. Everything else is about the text's last tenth, which the
model must not have been trained on. Prints a Markdown table; --json writes the figures too.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import machine

from charrnn.api import Model, load
from charrnn.config.schema import DynamicConfig
from charrnn.data.split import training_part
from charrnn.evaluation import baselines
from charrnn.evaluation.dynamic import dynamic_nats
from charrnn.evaluation.scoring import LN2, Score, ScoringProtocol, evaluate, tally
from charrnn.runtime.device import use_processor

Row = dict[str, Any]
CHARACTERS = 1_000_000


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
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
    """Score the beginning of a text in one serial pass and in segments side by side, also in `auto` precision."""
    encoded, rows = model.encode(text[:CHARACTERS]), list[Row]()
    for name, protocol, precision in (
        ("serial, fp32", ScoringProtocol.exact(), "fp32"),
        ("segments, fp32", ScoringProtocol.carried(), "fp32"),
        ("segments, auto", ScoringProtocol.carried(), "auto"),
    ):
        network, autocast = model.network(precision=precision)
        score_it = partial(evaluate, network, model.tokenizer, protocol=protocol, autocast=autocast)
        score_it(model.encode(text[:20_000]))  # a warm start
        score, seconds = timed(partial(score_it, encoded))
        found = row(f"{name}, {encoded.characters:,} characters", score, seconds)
        if rows:
            apart = abs(found["nats/char"] - rows[0]["nats/char"])
            found["beside"] = (
                f"{rows[0]['seconds'] / seconds:.1f} times the serial pass, {apart:.6f} nats apart"
            )
        rows.append(found)
    return rows


def learning(model: Model, text: str) -> list[Row]:
    """Score a held-out text as it is and with dynamic evaluation."""
    network, _ = model.network()
    encoded = model.encode(text)
    static, seconds = timed(
        lambda: evaluate(network, model.tokenizer, encoded, ScoringProtocol.carried())
    )
    rows = [row("held-out tenth, static", static, seconds)]
    losses = dynamic_nats(network, encoded.ids, DynamicConfig())
    found, seconds = timed(lambda: tally(losses, model.tokenizer, encoded).score)
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
    use_processor(args.threads)
    with args.text.open(encoding="utf-8", newline="") as file:
        text = file.read()
    cut = training_part(len(text), 0.1)
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
