"""Measure training steps against the machine's own limit, a large matrix product.

    python tests/benchmarks/training.py --text data/shakespeare.txt

Both are measured in one run and in the same precision. A step is all of it: batch, forward, loss,
backward, clip, optimizer, bookkeeping. Its work is counted as 6 operations for each weight of the
layers and the output and each symbol; the optimizer's own work counts nothing, so Muon's share is
time that the ratio loses. `plain` is the loop that most people would write on the same shape, in a
process of its own: nn.LSTM, float32, AdamW, loss.item() in each step. The matrix product is
measured before and after each row; the better one counts. Each row's time is the median of its
steps. A second table shows how a step grows with layers and width, and that it does not grow with
the text.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import machine, say
from torch import nn
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded, EncodedSplit, encode_text
from charrnn.data.formats import PLAIN
from charrnn.model.network import build
from charrnn.runtime.device import prepare_cpu
from charrnn.tokenizers import CharTokenizer
from charrnn.training.precision import choose_precision
from charrnn.training.trainer import Trainer

SIZE = 2048  # of the matrices
ROWS: list[dict[str, Any]] = [
    {"hidden_size": 512, "batch_size": 64},
    {"hidden_size": 512, "batch_size": 64, "optimizer": "adamw"},
    {"hidden_size": 256, "batch_size": 32},
    {"hidden_size": 256, "batch_size": 32, "optimizer": "adamw"},
    {"hidden_size": 512, "batch_size": 64, "optimizer": "adamw", "cell": "gru"},
    {"hidden_size": 512, "batch_size": 64, "optimizer": "adamw", "cell": "rnn"},
    {"hidden_size": 256, "batch_size": 32, "optimizer": "adamw", "cell": "gru"},
    {"hidden_size": 256, "batch_size": 32, "optimizer": "adamw", "cell": "rnn"},
]
GROWTH: list[dict[str, Any]] = [
    {
        "hidden_size": width,
        "batch_size": 32,
        "num_layers": layers,
        "optimizer": "adamw",
        "copies": copies,
    }
    for width, layers, copies in (
        (128, 2, 1),
        (256, 2, 1),
        (512, 2, 1),
        (256, 1, 1),
        (256, 4, 1),
        (256, 2, 10),
    )
]


def median_seconds(step: Callable[[], object], seconds: float) -> float:
    """Run a step for a while; return the median of its times, the first few left out."""
    for _ in range(3):
        step()
    times, end = list[float](), time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def matrix_rate(precision: str) -> float:
    """Return operations per second of a product of two large matrices."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    one, other = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    return 2 * SIZE**3 / median_seconds(lambda: one @ other, 0.3)


def trainer_of(
    text: Encoded, tokenizer: CharTokenizer, precision: str, row: dict[str, Any]
) -> Trainer:
    """Return a trainer for a row's settings."""
    shape = {name: row[name] for name in ("hidden_size", "num_layers", "cell") if name in row}
    rest = {name: row[name] for name in ("batch_size", "optimizer") if name in row}
    model = build(ModelConfig(vocab_size=tokenizer.size, **shape), seed=1)
    ids = np.tile(text.ids, row.get("copies", 1))
    train = Encoded(ids, len(ids), len(ids))
    data = EncodedSplit("text", text.sha256, PLAIN, tokenizer, train, text)
    return Trainer(model, data, TrainConfig(**rest), precision)


def operations(trainer: Trainer) -> float:
    """Return the work of a step: 6 operations for each weight that multiplies, and each symbol."""
    config, batch = trainer.model.config, trainer.config.batch_size * trainer.config.seq_len
    gates, hidden = len(CELLS[config.cell].gates), config.hidden_size
    inputs = config.embedding_size + hidden * (config.num_layers - 1)
    layers = gates * hidden * (inputs + hidden * config.num_layers)
    return 6.0 * batch * (layers + hidden * config.vocab_size)


def plain_loop(text: Encoded, config: ModelConfig, batch: int, length: int) -> Callable[[], object]:
    """Return a step of the loop that most people would write, on the same shape."""
    embedding = nn.Embedding(config.vocab_size, config.embedding_size)
    lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_layers, batch_first=True)
    head = nn.Linear(config.hidden_size, config.vocab_size)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer, rng = torch.optim.AdamW(parameters), np.random.default_rng(1)

    def step() -> float:
        begins = rng.integers(0, len(text.ids) - length - 1, size=(batch, 1))
        rows = torch.from_numpy(text.ids[begins + np.arange(length + 1)].astype(np.int64))
        logits = head(lstm(embedding(rows[:, :-1]))[0])
        loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.item()

    return step


def plain_seconds(row: int) -> float:
    """Return the seconds of the plain loop's step, in a process with untouched memory settings."""
    command = [sys.executable, __file__, *sys.argv[1:], "--plain", str(row)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def measured(number: int, trainer: Trainer, precision: str, seconds: float) -> list[str]:
    """Return a row's figures."""
    config = trainer.config
    before = matrix_rate(precision)
    taken = median_seconds(trainer.train_once, seconds)
    limit = max(before, matrix_rate(precision))
    rate, symbols = operations(trainer) / taken, config.batch_size * config.seq_len / taken
    shape = trainer.model.config
    plain = f"{plain_seconds(number) / taken:.2f}" if shape.cell == "lstm" else ""
    name = f"{shape.cell} 2 x {shape.hidden_size}, batch {config.batch_size}, {config.optimizer}"
    return [
        name,
        f"{symbols:,.0f}",
        f"{rate / 1e9:,.0f}",
        f"{limit / 1e9:,.0f}",
        f"{rate / limit:.2f}",
        plain,
    ]


def read(path: Path) -> tuple[CharTokenizer, Encoded]:
    """Return a text in symbols, and the characters that they stand for."""
    content = path.read_text(encoding="utf-8")
    tokenizer = CharTokenizer.train([content])
    return tokenizer, encode_text(tokenizer, content)


def print_plain(args: argparse.Namespace) -> None:
    """Print the seconds of a plain loop's step, and nothing else."""
    if args.threads:
        torch.set_num_threads(args.threads)
    (tokenizer, text), row = read(args.text), ROWS[args.plain]
    shape = ModelConfig(vocab_size=tokenizer.size, hidden_size=row["hidden_size"])
    print(
        median_seconds(
            plain_loop(text, shape, row["batch_size"], TrainConfig().seq_len), args.seconds
        )
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="all cores if not given")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument(
        "--plain",
        type=int,
        help="only print the seconds of the plain loop's step on this row's shape",
    )
    args = parser.parse_args()
    if args.plain is not None:
        print_plain(args)
        return
    prepare_cpu(args.threads)
    tokenizer, text = read(args.text)
    usual = ModelConfig(vocab_size=tokenizer.size)
    precision = choose_precision(usual, TrainConfig(precision=args.precision)).name
    print(f"{machine()}; {precision}, {torch.get_num_threads()} threads\n")
    print("| step | chars/s | GFLOP/s | matrix product | ratio | times a plain loop |")
    print("|---|---|---|---|---|---|")
    for number, row in enumerate(ROWS):
        cells = measured(
            number, trainer_of(text, tokenizer, precision, row), precision, args.seconds
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        say(" ".join(cells))
    print("\n| width | layers | text, MB | ms per step | GFLOP/s |\n|---|---|---|---|---|")
    for row in GROWTH:
        trainer = trainer_of(text, tokenizer, precision, row)
        taken = median_seconds(trainer.train_once, args.seconds / 2)
        megabytes, rate = len(text.ids) * row["copies"] / 1e6, operations(trainer) / taken / 1e9
        shown = [
            row["hidden_size"],
            row["num_layers"],
            f"{megabytes:.1f}",
            f"{1000 * taken:.1f}",
            f"{rate:,.0f}",
        ]
        print(f"| {' | '.join(map(str, shown))} |", flush=True)


if __name__ == "__main__":
    main()
