"""Compare the cells: on a text, at equal parameters and time; in speed; and on known tasks.

    python tests/benchmarks/cells.py table --text data/shakespeare.txt --seconds 300
    python tests/benchmarks/cells.py attention --text data/benchmarks/python-lib.txt --seconds 600
    python tests/benchmarks/cells.py speed
    python tests/benchmarks/cells.py recall markov

    table      every cell with and without attention: `charrnn train --time`, validation nats,
               speed, sampling speed
    attention  the lstm and the minGRU with and without attention
    speed      steps of training of the lstm and the minGRU at equal parameters and sequence
               length 256, taken in turn
    recall     delayed recall: a symbol, --delay distractors, the question; share of new sequences
               answered correctly
    markov     nats above the entropy of a Markov source, in percent

One process runs at a time. Progress goes to standard error, the tables to standard output.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from science import Source, excess, recall
from torch.amp.grad_scaler import GradScaler

from charrnn import load
from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.presets import cell_settings
from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.model.network import build
from charrnn.model.shapes import parameter_count
from charrnn.runtime.device import autocast, prepare_cpu
from charrnn.training.optimizer import Optimizer
from charrnn.training.precision import choose_precision
from charrnn.training.step import GradientComputer, train_step

Row = list[str]
SPAN = 128  # of the attention
# Where another learning rate than the default's was better on the first nine tenths of tiny
# Shakespeare, of which the last ninth validated.
RATES = {"rnn tanh": 4e-3, "rnn relu": 4e-3}
KINDS = [(cell, "tanh") for cell in CELLS] + [("rnn", "relu"), ("rnn", "sigmoid")]


def sized(parameters: int, vocab_size: int = 66, **settings: Any) -> ModelConfig:
    """Return the configuration nearest to a number of parameters; its width is a multiple of 8."""
    shape = cell_settings(settings["cell"]) | settings
    widths = [
        ModelConfig(vocab_size=vocab_size, hidden_size=width, **shape)
        for width in range(16, 4097, 8)
    ]
    return min(widths, key=lambda config: abs(parameter_count(config) - parameters))


def trained(args: argparse.Namespace, cell: str, activation: str, span: int) -> Row:
    """Train one model with the command line; return its row."""
    vocabulary = len(set(args.text.read_text(encoding="utf-8"))) + 1
    config = sized(args.parameters, vocabulary, cell=cell, activation=activation, attention=span)
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "cell": cell,
            "activation": activation,
            "attention": span,
            "hidden-size": config.hidden_size,
        }
        options |= {
            "time": args.seconds,
            "out": f"{folder}/run",
            "lr": RATES.get(f"{cell} {activation}"),
        }
        words = [
            word
            for name, value in options.items()
            if value is not None
            for word in (f"--{name}", str(value))
        ]
        threads = ["--threads", str(args.threads)] if args.threads else []
        command = [
            sys.executable,
            "-m",
            "charrnn",
            "train",
            str(args.text),
            "--quiet",
            "--json",
            *words,
            *threads,
        ]
        facts = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        model = load(f"{folder}/run")
        model.generate(length=10)
        begin = time.perf_counter()
        model.generate(length=2000, temperature=1.0)
        speed = 2000 / (time.perf_counter() - begin)
    shape = f"{config.num_layers} x {config.hidden_size}"
    return [
        f"{cell}{'' if cell != 'rnn' else f' {activation}'}",
        str(span or ""),
        shape,
        f"{facts['parameters']:,}",
        f"{facts['epochs']:.1f}",
        f"{facts['valid_nats_per_token']:.4f}",
        f"{facts['chars_per_second']:,}",
        f"{speed:,.0f}",
    ]


HEAD = [
    "cell",
    "attention",
    "shape",
    "parameters",
    "epochs",
    "nats/char",
    "training chars/s",
    "sampling chars/s",
]


def table(args: argparse.Namespace, kinds: list[tuple[str, str]]) -> Iterator[Row]:
    """Yield a row for each cell without attention and with it."""
    yield HEAD
    for cell, activation in kinds:
        for span in (0, SPAN):
            yield trained(args, cell, activation, span)


def speed(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the characters per second of training at three sizes, rivals taking turns."""
    yield ["parameters", "batch", "lstm chars/s", "mingru chars/s", "ratio"]
    prepare_cpu(args.threads)
    for parameters in (880_000, 3_300_000, 13_000_000):
        for batch in (8, 32):
            steppers = [stepper(sized(parameters, cell=cell), batch) for cell in ("lstm", "mingru")]
            times: list[list[float]] = [[], []]
            begin = time.perf_counter()
            while len(times[0]) < 5 or time.perf_counter() - begin < args.seconds / 6:
                for own, step in zip(times, steppers, strict=True):
                    before = time.perf_counter()
                    step()
                    own.append(time.perf_counter() - before)
            one, other = (batch * 256 / statistics.median(own[1:]) for own in times)
            yield [
                f"{parameters:,}",
                str(batch),
                f"{one:,.0f}",
                f"{other:,.0f}",
                f"{other / one:.2f}",
            ]


def stepper(config: ModelConfig, batch: int) -> Callable[[], Any]:
    """Return a function that takes one step of training, with AdamW, on batch x 256 symbols."""
    model, train = build(config, 1), TrainConfig(seq_len=256, batch_size=batch, optimizer="adamw")
    precision = choose_precision(config, train).name
    optimizer = Optimizer(model, train, precision)
    ids = torch.randint(
        0, config.vocab_size, (batch, 257), generator=torch.Generator().manual_seed(1)
    )
    scaler = GradScaler(model.device.type, enabled=False)
    gradients = GradientComputer(model, scaler, partial(autocast, precision, model.device))
    rows, state = Batch(ids[:, :-1], ids[:, 1:], False, 256), model.initial_state(batch)
    return lambda: train_step(gradients, optimizer, rows, state, train, lr=1e-3)


def recall_table(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the share of sequences that each cell answers correctly after --steps of training."""
    torch.set_num_threads(1)
    yield ["cell", f"correct after {args.delay} distractors", "steps", "seconds"]
    for cell, activation in KINDS:
        begin = time.perf_counter()
        share = recall(args.delay, args.steps, cell=cell, activation=activation, forget_bias=5.0)
        name = f"{cell} {activation}" if cell == "rnn" else cell
        yield [name, f"{share:.1%}", f"{args.steps:,}", f"{time.perf_counter() - begin:.0f}"]


def markov_table(_: argparse.Namespace) -> Iterator[Row]:
    """Yield how far above a source's entropy each cell ends."""
    torch.set_num_threads(1)
    source = Source.drawn(6, seed=1)
    yield ["cell", "entropy, nats", "above it"]
    for cell, activation in KINDS:
        more = {name: value for name, value in cell_settings(cell).items() if name == "forget_bias"}
        above = excess(source, 200_000, 1000, cell=cell, activation=activation, **more)
        yield [
            f"{cell} {activation}" if cell == "rnn" else cell,
            f"{source.entropy:.4f}",
            f"{above:+.2%}",
        ]


FIGURES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "table": lambda args: table(args, KINDS),
    "attention": lambda args: table(args, [("lstm", "tanh"), ("mingru", "tanh")]),
    "speed": speed,
    "recall": recall_table,
    "markov": markov_table,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="+", choices=FIGURES)
    parser.add_argument("--text", type=Path)
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="for each model, or for the figure `speed`"
    )
    parser.add_argument("--parameters", type=int, default=880_000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--delay", type=int, default=100)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    if args.text is None and {"table", "attention"} & set(args.figures):
        parser.error("table and attention need --text")
    for figure in args.figures:
        for number, row in enumerate(FIGURES[figure](args)):
            print("| " + " | ".join(row) + " |", flush=True)
            if number == 0:
                print("|" + "---|" * len(row), flush=True)
        print()


if __name__ == "__main__":
    main()
