"""A small model that learns from a large one, beside the same small model trained alone.

    python tests/benchmarks/distillation.py --text data/shakespeare.txt
    python tests/benchmarks/distillation.py --text data/shakespeare.txt --teacher checkpoints/big

Both small models take the same steps, from the same seed, with the same settings but for the
teacher; without --teacher, that is what `charrnn train` with no option makes of the text. What
follows --options is given to both. Progress goes to standard error, the table to standard output.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine


def train(text: Path, out: Path, *options: object) -> dict[str, Any]:
    """Train a model; return the run's summary, with the seconds of the whole command."""
    command = [sys.executable, "-m", "charrnn", "train", text, "--out", out, "--json", *options]
    words = [str(word) for word in command]
    print(shlex.join(["charrnn", *words[3:]]), file=sys.stderr)
    began = time.monotonic()
    found = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(found.stdout)
    return told | {"whole": time.monotonic() - began}


def row(name: str, told: dict[str, Any]) -> str:
    """Return a line of the table."""
    nats, bits = told["valid_nats_per_token"], told["valid_bits_per_char"]
    cells = name, f"{told['whole']:.0f}", f"{told['step']:,}", f"{told['parameters']:,}"
    return f"| {' | '.join(cells)} | {nats:.4f} | {bits:.4f} |"


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--teacher", help="a model, or a blend of several: A+B")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=11.0)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    size, options = f"{args.hidden_size}-wide", ["--hidden-size", args.hidden_size]
    options += ["--epochs", args.epochs, *args.options]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, teacher = Path(name), args.teacher
        if teacher is None:
            teacher = folder / "teacher"
            rows.append(row("teacher", train(args.text, teacher)))
        rows.append(row(f"{size} alone", train(args.text, folder / "alone", *options)))
        taught = train(args.text, folder / "taught", *options, "--teacher", teacher)
        rows.append(row(f"{size} with the teacher", taught))
    print(f"{machine()}\n")
    print("| model | seconds | steps | parameters | nats/token | bits/char |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
