"""Measure how fast a trained model writes, beside a plain loop over nn.LSTM of the same size.

    python tests/benchmarks/sampling.py checkpoints/shakespeare

Rows: a plain nn.LSTM loop (one stream, torch, what a tutorial writes); charrnn with one stream;
with --num streams side by side; and the seconds from starting the process `charrnn sample` to its
first character. The three speeds are measured in turns, several times, and the best of each is
shown: other work on the machine can only make one slower.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from charrnn import Model, load


def torch_loop(model: Model) -> Callable[[int], None]:
    """Return what draws symbols one by one from an untrained nn.LSTM of the model's size."""
    import torch
    from torch import nn

    config = model.config
    embedding = nn.Embedding(config.vocab_size, config.embedding_size)
    lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_layers, batch_first=True)
    head = nn.Linear(config.hidden_size, config.vocab_size)

    @torch.no_grad()
    def draw(count: int) -> None:
        symbol, state = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(count):
            output, state = lstm(embedding(symbol), state)
            symbol = torch.multinomial(torch.softmax(head(output[:, -1]) / 0.8, dim=-1), 1)

    return draw


def speed(work: Callable[[int], object], count: int) -> float:
    """Return symbols for each second when `work` makes `count` of them."""
    began = time.perf_counter()
    work(count)
    return count / (time.perf_counter() - began)


def first_character(path: Path) -> float:
    """Return the seconds from starting the command to its first character."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "charrnn", "sample", str(path), "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - began
        process.stdout.read()
    return seconds


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--num", type=int, default=256, help="streams side by side")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = load(args.model)
    loop = torch_loop(model)
    rows: dict[str, Callable[[], float]] = {
        "nn.LSTM loop": lambda: speed(loop, 1000),
        "one stream": lambda: speed(lambda count: model.generate(length=count), 5000),
        f"{args.num} streams": lambda: speed(
            lambda count: model.generate_many(num=args.num, length=count // args.num),
            500 * args.num,
        ),
    }
    speeds: dict[str, float] = dict.fromkeys(rows, 0.0)
    for name, measure in list(rows.items()) * args.rounds:
        speeds[name] = max(speeds[name], measure())
    print("| | characters/s | times nn.LSTM |\n|---|---|---|")
    for name, value in speeds.items():
        print(f"| {name} | {value:,.0f} | {value / speeds['nn.LSTM loop']:.1f} |")
    starts = sorted(first_character(args.model) for _ in range(args.rounds))
    print(f"\nFirst character after {starts[len(starts) // 2]:.2f} s (median of {len(starts)}).")


if __name__ == "__main__":
    main()
