"""Run nanoGPT's recipe for CPUs, as its README gives it, and time it from outside.

    git clone https://github.com/karpathy/nanoGPT
    python tests/benchmarks/nanogpt.py --dir nanoGPT --text data/shakespeare.txt

It runs in a temporary copy, on data prepared as its own `prepare.py` does (the same split and ids,
nothing downloaded). Its validation loss is its own estimate from 20 random batches, made every 250
steps; its last checkpoint is scored here too, on each character of the validation text after the
first, in blocks of 64 with an empty context.
"""

import argparse
import importlib.util
import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 64
RECIPE = [
    *(
        "train.py",
        "config/train_shakespeare_char.py",
        "--device=cpu",
        "--compile=False",
        "--eval_iters=20",
    ),
    *(
        "--log_interval=1",
        f"--block_size={BLOCK}",
        "--batch_size=12",
        "--n_layer=4",
        "--n_head=4",
        "--n_embd=128",
    ),
]
EVALUATION = re.compile(r"step (\d+): train loss [\d.]+, val loss ([\d.]+)")


def prepare(text: str, folder: Path) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    """Write what nanoGPT reads: ids of the first 90 % and of the rest, and the vocabulary of all.

    Return the rest's.
    """
    symbols = sorted(set(text))
    ids_of = {symbol: index for index, symbol in enumerate(symbols)}
    ids = np.array([ids_of[symbol] for symbol in text], dtype=np.uint16)
    cut = int(len(text) * 0.9)
    ids[:cut].tofile(folder / "train.bin")
    ids[cut:].tofile(folder / "val.bin")
    meta = {"vocab_size": len(symbols), "itos": dict(enumerate(symbols)), "stoi": ids_of}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return ids[cut:]


def train(
    copy: Path, steps: int, threads: int | None
) -> tuple[list[tuple[float, int, float]], float]:
    """Run the recipe.

    Return (seconds since the start, step, validation loss) of each evaluation, and all seconds.
    """
    command = [
        sys.executable,
        "-u",
        *RECIPE,
        f"--max_iters={steps}",
        f"--lr_decay_iters={steps}",
        "--dropout=0.0",
    ]
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    start, evaluations = time.perf_counter(), []
    with subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := EVALUATION.match(line):
                evaluations.append((time.perf_counter() - start, int(found[1]), float(found[2])))
                print(f"nanoGPT, {evaluations[-1][0]:.1f} s: {line.strip()}", file=sys.stderr)
    if process.returncode:
        sys.exit(f"nanoGPT ended with exit code {process.returncode}")
    return evaluations, time.perf_counter() - start


def score(copy: Path, valid: "np.ndarray[Any, np.dtype[np.uint16]]") -> dict[str, float]:
    """Return the nats per character of the checkpoint that the recipe left, and its size."""
    import torch

    found = next(copy.glob("out*/ckpt.pt"), None)
    if found is None:
        return {}
    spec = importlib.util.spec_from_file_location("nanogpt_model", copy / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    saved = torch.load(found, weights_only=True)
    model = module.GPT(module.GPTConfig(**saved["model_args"])).eval()
    model.load_state_dict(saved["model"])
    ids, nats = torch.from_numpy(valid.astype(np.int64)), 0.0
    blocks = ids.unfold(
        0, BLOCK + 1, BLOCK
    )  # each begins with the symbol that the one before ended with
    with torch.inference_mode():
        for start in range(0, len(blocks), 64):
            block = blocks[start : start + 64]
            nats += float(model(block[:, :-1], block[:, 1:])[1]) * block[:, 1:].numel()
        rest = (len(ids) - 1) % BLOCK
        if rest:
            nats += float(model(ids[None, -rest - 1 : -1], ids[None, -rest:])[1]) * rest
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "whole_valid_nats": nats / (len(ids) - 1),
        "checkpoint_step": saved["iter_num"],
        "parameters": parameters,
    }


def main() -> None:
    """Run, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="a checkout of nanoGPT")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000, help="the recipe's are 2000")
    parser.add_argument("--threads", type=int, help="all cores if not given")
    parser.add_argument(
        "--goal", type=float, default=1.88, help="report when this validation loss was reached"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "nanoGPT"
        shutil.copytree(args.dir, copy, ignore=shutil.ignore_patterns(".git", "assets", "out*"))
        with args.text.open(encoding="utf-8", newline="") as file:
            valid = prepare(file.read(), copy / "data" / "shakespeare_char")
        evaluations, seconds = train(copy, args.steps, args.threads)
        with redirect_stdout(sys.stderr):  # its model reports its size
            scored = score(copy, valid)
    reached = next(
        ((when, step) for when, step, loss in evaluations if loss <= args.goal), (None, None)
    )
    _, step, loss = evaluations[-1] if evaluations else (0.0, 0, math.nan)
    figures = {
        "valid_nats": loss,
        "steps": step,
        "seconds": seconds,
        "chars_per_second": args.steps * 12 * BLOCK / seconds,
    }
    print(
        json.dumps(
            figures
            | {"goal": args.goal, "goal_seconds": reached[0], "goal_step": reached[1]}
            | scored
        )
    )


if __name__ == "__main__":
    main()
