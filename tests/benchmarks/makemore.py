"""Train on makemore's list of names, split as makemore splits it, and print the loss.

    python tests/benchmarks/makemore.py names.txt
    python tests/benchmarks/makemore.py names.txt --options --preset quick

makemore (github.com/karpathy/makemore) holds out 1,000 names that `torch.randperm` draws with the
seed 3407, and states the mean loss of a symbol, a name's end included. The same split and the same
mean are taken here. names.txt is not part of this repository.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench import machine

SEED, HELD_OUT = 3407, 1000  # makemore.py, create_datasets


def split(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the names to train on and those held out, as makemore draws them."""
    torch.manual_seed(SEED)
    order = torch.randperm(len(names)).tolist()
    count = min(HELD_OUT, int(len(names) * 0.1))
    return [names[k] for k in order[:-count]], [names[k] for k in order[-count:]]


def main() -> None:
    """Train and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", type=Path)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    words = [word.strip() for word in args.names.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = folder / "train.txt", folder / "test.txt"
        for path, part in zip(paths, split([word for word in words if word]), strict=True):
            path.write_text("\n".join(part) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "charrnn", "train", paths[0], "--valid", paths[1]]
        options = ["--records", "lines", "--out", folder / "run", "--json", *args.options]
        began = time.monotonic()
        words_of_command = [str(word) for word in [*command, *options]]
        found = subprocess.run(words_of_command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.monotonic() - began
    told = json.loads(found.stdout)
    nats = told["valid_bits_per_char"] * math.log(2)
    print(f"{machine()}\ncharrnn train --records lines {' '.join(args.options)}")
    print(f"{seconds:.0f} s, {told['parameters']:,} parameters, step {told['best_step']:,}")
    print(f"{nats:.4f} nats per character of the held-out names, their ends included")


if __name__ == "__main__":
    main()
