"""Print what charrnn reaches on one GPU beside what is asked for, in a few minutes.

    python tests/benchmarks/gpu.py --text data/shakespeare.txt

`make gpu` runs it after the tests. Each row is measured in a process of its own, which is stopped
after its limit, so that no row takes the others' time. The plain loop is the one that most people
would write, on the same shape: nn.LSTM, AdamW, bfloat16 autocast (in which cuDNN runs in float16),
loss.item() in each step. A product's rate is that of two bfloat16 matrices of 8192 x 8192. A step's
work is counted as in `training.py`: 6 operations for each weight and symbol.

`--rehearse` runs all of it on the CPU in small, to find mistakes; its figures mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from training import median_seconds, operations, read

from charrnn.api import Model
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.encoding import Encoded, EncodedSplit
from charrnn.data.formats import PLAIN
from charrnn.model.network import build
from charrnn.model.shapes import parameter_count
from charrnn.runtime.device import autocast, choose_device
from charrnn.storage.model_file import SavedModel
from charrnn.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
GOAL = 1.4697  # nats per character; nanoGPT's recipe for an A100, in 3 minutes
WORDS = "the quick brown fox jumps over the lazy dog and runs back to where it came from. "


@dataclass(frozen=True)
class Scale:
    """How large what is measured is, on a GPU or in a rehearsal.

    Attributes:
        device: The name of the device.
        product: Rows of the matrices.
        wide: Width, batch and length of a large LSTM.
        usual: Width, batch and length of one as presets choose it.
        long: Width of the LSTM, batch and length, beside which minGRU stands.
        streams: Texts sampled side by side.
        seconds: Measuring time of a row's parts.
        train_seconds: Time of the whole command for the first row, and of the second.
    """

    device: str
    product: int
    wide: tuple[int, int, int]
    usual: tuple[int, int, int]
    long: tuple[int, int, int]
    streams: int
    seconds: float
    train_seconds: tuple[int, int]


GPU = Scale("cuda", 8192, (1024, 256, 128), (256, 32, 64), (512, 32, 1024), 4096, 4.0, (30, 60))
REHEARSAL = Scale("cpu", 128, (32, 8, 16), (16, 4, 16), (24, 4, 64), 16, 0.1, (12, 12))


@dataclass(frozen=True)
class Bench:
    """The scale of the figures, and the text."""

    scale: Scale
    path: Path
    precision: str

    @property
    def device(self) -> torch.device:
        """Where to measure."""
        return choose_device(self.scale.device)

    def finish(self) -> None:
        """Wait until all is computed."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def product_rate(bench: Bench) -> float:
    """Return operations per second of a product of two large bfloat16 matrices."""
    size = bench.scale.product
    one, other = (
        torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2)
    )

    def multiply() -> None:
        for _ in range(5):
            one @ other
        bench.finish()

    return 5 * 2 * size**3 / median_seconds(multiply, bench.scale.seconds / 2)


def trainer_of(bench: Bench, shape: dict[str, Any], batch: int, length: int) -> Trainer:
    """Return a trainer on the text."""
    tokenizer, text = read(bench.path)
    copies = -(-batch * (length + 1) * 4 // len(text.ids))  # a short text would give fewer streams
    ids = np.tile(text.ids, copies)
    train = Encoded(ids, len(ids), len(ids))
    data = EncodedSplit("text", text.sha256, PLAIN, tokenizer, train, text)
    config = TrainConfig(batch_size=batch, seq_len=length)
    model = build(ModelConfig(vocab_size=tokenizer.size, **shape), seed=1).to(bench.device)
    return Trainer(model, data, config, bench.precision)


def plain_loop(bench: Bench, config: ModelConfig, batch: int, length: int) -> Callable[[], object]:
    """Return a step of the loop that most people would write, on the same shape."""
    _, text = read(bench.path)
    embedding = nn.Embedding(config.vocab_size, config.embedding_size)
    lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_layers, batch_first=True)
    head = nn.Linear(config.hidden_size, config.vocab_size)
    network = nn.ModuleList([embedding, lstm, head]).to(bench.device)
    optimizer, rng = torch.optim.AdamW(network.parameters()), np.random.default_rng(1)

    def step() -> float:
        begins = rng.integers(0, len(text.ids) - length - 1, size=(batch, 1))
        rows = torch.from_numpy(text.ids[begins + np.arange(length + 1)].astype(np.int64))
        rows = rows.to(bench.device)
        with autocast("bf16", bench.device):
            logits = head(lstm(embedding(rows[:, :-1]))[0])
            loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def wide(bench: Bench) -> list[list[str]]:
    """Measure LSTMs as a share of a product's rate, and beside the plain loop."""
    asked, rows = "40 % of a product's rate", []
    for width, batch, length in (bench.scale.wide, bench.scale.usual):
        trainer = trainer_of(bench, {"hidden_size": width}, batch, length)
        taken = median_seconds(trainer.train_once, bench.scale.seconds)
        share, limit = operations(trainer) / taken, product_rate(bench)
        loop = plain_loop(bench, trainer.model.config, batch, length)
        plain = median_seconds(loop, bench.scale.seconds)
        name = f"LSTM 2 x {width}, batch {batch} x {length}"
        found = f"{share / limit:.1%} of {limit / 1e12:,.1f} TFLOP/s; {1000 * taken:.2f} ms"
        rows.append([name, asked, found, f"{1000 * plain:.2f} ms", f"{plain / taken:.2f}"])
        asked = ""
        del trainer
    return rows


def parallel(bench: Bench) -> list[list[str]]:
    """Measure minGRU against an LSTM of as many parameters on long sequences."""
    width, batch, length = bench.scale.long
    lstm = trainer_of(bench, {"hidden_size": width}, batch, length)
    wanted = parameter_count(lstm.model.config)
    taken = median_seconds(lstm.train_once, bench.scale.seconds)
    loop = plain_loop(bench, lstm.model.config, batch, length)
    plain = median_seconds(loop, bench.scale.seconds)
    del lstm
    shape: dict[str, Any] = {"cell": "mingru", "num_layers": 4, "residual": True}
    shape["hidden_size"] = 8
    symbols = read(bench.path)[0].size
    while parameter_count(ModelConfig(vocab_size=symbols, **shape)) < wanted:
        shape["hidden_size"] += 8
    mingru = trainer_of(bench, shape, batch, length)
    short = median_seconds(mingru.train_once, bench.scale.seconds)
    name = f"minGRU 4 x {shape['hidden_size']} against LSTM 2 x {width}, T = {length}"
    symbols_a_second = (
        f"{batch * length / short:,.0f} against {batch * length / taken:,.0f} chars/s"
    )
    found = f"{taken / short:.2f} times; {symbols_a_second}"
    slow = f"{batch * length / plain:,.0f} chars/s"
    return [[name, "5 times", found, slow, f"{plain / short:.2f}"]]


def sampling(bench: Bench) -> list[list[str]]:
    """Measure how fast texts are sampled side by side, beside a loop over nn.LSTM."""
    (tokenizer, _), streams, length = read(bench.path), bench.scale.streams, 64
    config = ModelConfig(vocab_size=tokenizer.size, hidden_size=bench.scale.usual[0])
    weights = {name: value.numpy() for name, value in build(config, 1).state_dict().items()}
    model = Model(SavedModel(config, tokenizer, weights, {}))
    draw = torch_draw(bench, config, streams)
    ours = best_of_two(lambda: model.generate_many(num=streams, length=length))
    loop = best_of_two(lambda: draw(length))
    found, slow = (f"{streams * length / taken:,.0f} chars/s" for taken in (ours, loop))
    name = f"{streams:,} streams sampled, LSTM 2 x {config.hidden_size}"
    return [[name, "5,000,000 chars/s", found, f"{slow} (torch)", f"{loop / ours:.2f}"]]


def best_of_two(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes, at its second or third time."""
    work()
    times = []
    for _ in range(2):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return min(times)


def torch_draw(bench: Bench, config: ModelConfig, streams: int) -> Callable[[int], None]:
    """Return what draws symbols for all streams from an untrained nn.LSTM of the model's size."""
    embedding = nn.Embedding(config.vocab_size, config.embedding_size)
    lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_layers, batch_first=True)
    head = nn.Linear(config.hidden_size, config.vocab_size)
    nn.ModuleList([embedding, lstm, head]).to(bench.device)

    @torch.inference_mode()
    def draw(count: int) -> None:
        symbols, state = torch.zeros(streams, 1, dtype=torch.long, device=bench.device), None
        with autocast("bf16", bench.device):
            for _ in range(count):
                output, state = lstm(embedding(symbols), state)
                symbols = torch.multinomial(torch.softmax(head(output[:, -1]).float(), -1), 1)
        bench.finish()

    return draw


def command(bench: Bench, out: Path, seconds: int, *words: str) -> subprocess.Popen[bytes]:
    """Start `charrnn train` with a time budget, scoring the whole validation text each time."""
    program = [sys.executable, "-m", "charrnn", "train", str(bench.path), "--out", str(out)]
    options = ["--quiet", "--time", f"{seconds}s", "--valid-tokens", "100000000", *words]
    return subprocess.Popen([*program, *options], stdout=subprocess.DEVNULL)


def evaluations(out: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log that hold an evaluation."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "valid" in line]


def goal(bench: Bench) -> list[list[str]]:
    """Measure how long it takes to nanoGPT's figure."""
    seconds = bench.scale.train_seconds[0]
    with tempfile.TemporaryDirectory() as folder:
        out, began = Path(folder) / "run", time.perf_counter()
        code = command(bench, out, seconds, "--device", bench.scale.device).wait()
        whole = time.perf_counter() - began
        found = evaluations(out)
    if code:
        raise SystemExit(code)
    reached = next((line for line in found if line["valid"] <= GOAL), None)
    best = min(line["valid"] for line in found)
    when = f"after {reached['seconds']:.1f} s of training" if reached else "not reached"
    result = f"{when}; {best:.4f} at best, whole command {whole:.1f} s"
    asked = "10 s of training, 30 s in all"
    return [[f"{bench.path.stem} to {GOAL}", asked, result, "nanoGPT, A100: 180 s (stated)", ""]]


def quick(bench: Bench) -> list[list[str]]:
    """Train as long on the GPU as on the CPU at the same time, which leaves two cores free."""
    seconds, threads = bench.scale.train_seconds[1], max(1, len(os.sched_getaffinity(0)) - 2)
    places = {
        "gpu": ("--device", bench.scale.device),
        "cpu": ("--device", "cpu", "--threads", str(threads)),
    }
    with tempfile.TemporaryDirectory() as folder:
        running = [
            command(bench, Path(folder) / name, seconds, *words) for name, words in places.items()
        ]
        if code := max(one.wait() for one in running):
            raise SystemExit(code)
        ours, cpu = (
            f"{min(line['valid'] for line in evaluations(Path(folder) / name)):.4f} nats/char"
            for name in places
        )
    return [[f"--time {seconds}s", "below the CPU's", ours, f"CPU, {threads} threads: {cpu}", ""]]


# Each row's figures, and the seconds after which its process is stopped.
ROWS: dict[str, tuple[Callable[[Bench], list[list[str]]], int]] = {
    "goal": (goal, 50),
    "wide": (wide, 60),
    "parallel": (parallel, 45),
    "sampling": (sampling, 40),
    "quick": (quick, 85),
}
NOT_HERE = """
Not in this table: the same gradients from several ranks on one GPU, which `tests/gpu` checks, and
bits per character of enwik8 after nine minutes, which take nine minutes."""
HEAD = ("figure", "asked", "found", "plain loop", "times the plain loop")


def machine() -> str:
    """Describe what the figures were measured on."""
    parts = [f"torch {torch.__version__}", f"{date.today():%Y-%m-%d}"]
    if torch.cuda.is_available():
        version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        name = f"{torch.cuda.get_device_name()} ({memory:.0f} GB)"
        parts = [name, f"CUDA {torch.version.cuda}, cuDNN {version}", *parts]
    return ", ".join([*parts, f"{len(os.sched_getaffinity(0))} cores"])


def measured(name: str, limit: float, words: list[str]) -> list[list[str]]:
    """Measure a row in a process of its own; return what went wrong in its place."""
    program = [sys.executable, __file__, "--row", name, *words]
    try:
        done = subprocess.run(
            program, stdout=subprocess.PIPE, timeout=limit, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return [[name, "", f"stopped after {limit:.0f} s", "", ""]]
    if done.returncode:
        return [[name, "", f"failed with exit code {done.returncode}", "", ""]]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def print_table(args: argparse.Namespace, words: list[str]) -> int:
    """Print the rows as they come; return how many could not be measured."""
    end, failures = time.monotonic() + args.seconds, 0
    print(f"{machine()}\n\n| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|", flush=True)
    for name, (_, limit) in ROWS.items():
        left = min(limit, end - time.monotonic())
        rows = measured(name, left, words) if left > 5 else [[name, "", "no time left", "", ""]]
        failures += len(rows) == 1 and rows[0][0] == name
        for row in rows:
            print(f"| {' | '.join(row)} |", flush=True)
    print(NOT_HERE)
    return failures


def text_of(given: Path | None, folder: Path) -> Path:
    """Return the text: the one given, tiny Shakespeare, or, for speed alone, one made up."""
    path = given or ROOT / "data" / "shakespeare.txt"
    if path.exists():
        return path
    made_up = folder / "made_up.txt"
    made_up.write_text(WORDS * 4000, encoding="utf-8")
    print(f"{path} is missing (charrnn data shakespeare): a made-up text stands for it.")
    return made_up


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="tiny Shakespeare")
    parser.add_argument("--seconds", type=float, default=240, help="for all rows")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    parser.add_argument("--row", choices=ROWS, help="print one row as JSON")
    args = parser.parse_args()
    scale = REHEARSAL if args.rehearse else GPU
    if args.row:
        bench = Bench(scale, args.text, args.precision)
        print(json.dumps(ROWS[args.row][0](bench)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        words = ["--text", str(text_of(args.text, Path(folder))), "--precision", args.precision]
        return int(print_table(args, words + ["--rehearse"] * args.rehearse) > 0)


if __name__ == "__main__":
    sys.exit(main())
