"""Train with one process and with several on the same cores, and compare.

    python tests/benchmarks/ranks.py --text data/shakespeare.txt
    python tests/benchmarks/ranks.py --text data/shakespeare.txt --hidden-size 512 \\
        --batch-size 64 --accumulate 4

Figures: characters per second, time to a loss, bytes sent. Each takes the same steps from the same
seed: one process with one thread, one with as many as there are cores, and as many ranks of one
thread under torchrun. The time to a loss is that of the first evaluation at or below --goal, in
seconds of training. What is sent is what the loopback device has counted, less what a run of half
the steps sends, for each step.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench import machine, run_json, say

from charrnn.runtime.device import cores

COUNTERS = Path("/proc/net/dev")


def sent() -> int | None:
    """Return the bytes that the loopback device has sent so far, or None where nobody counts."""
    if not COUNTERS.exists():
        return None
    for line in COUNTERS.read_text(encoding="utf-8").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return None


def train(
    args: argparse.Namespace, out: Path, steps: int, ranks: int, threads: int
) -> dict[str, Any]:
    """Train once.

    Returns:
        What the run says of itself, the seconds of the whole command and the bytes sent.
    """
    words = [
        "train",
        args.text,
        "--out",
        out,
        "--fresh",
        "--json",
        "--quiet",
        "--threads",
        threads,
        "--steps",
        steps,
    ]
    words += ["--hidden-size", args.hidden_size, "--batch-size", args.batch_size, "--dropout", 0]
    words += ["--eval-every", args.eval_every, "--optimizer", args.optimizer]
    words += ["--accumulate", args.accumulate] if ranks > 1 and args.accumulate > 1 else []
    start = sent()
    launcher = (
        ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
        if ranks > 1
        else ()
    )
    facts, seconds = run_json(*words, launcher=launcher)
    end = sent()
    return facts | {"whole": seconds, "sent": None if start is None or end is None else end - start}


def reached(folder: Path, goal: float) -> float | None:
    """Return the seconds of training after which a run's validation was at or below `goal`."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return next((line["seconds"] for line in lines if line.get("valid", goal + 1) <= goal), None)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--eval-every", type=int, default=25)
    parser.add_argument("--goal", type=float, default=1.8)
    args = parser.parse_args()
    print(
        f"{machine()}; 2 x {args.hidden_size}, batch {args.batch_size}, {args.steps} steps, "
        f"{args.optimizer}\n"
    )
    names = ("seconds", "chars/s", f"seconds to {args.goal}", "nats/char", "MB sent per step")
    print(f"| processes x threads | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    with tempfile.TemporaryDirectory() as name:
        for ranks, threads in ((1, 1), (1, cores()), (cores(), 1)):
            folder = Path(name) / f"{ranks}-{threads}"
            facts = train(args, folder, args.steps, ranks, threads)
            half = (
                train(args, Path(name) / "half", args.steps // 2, ranks, threads)
                if ranks > 1
                else None
            )
            more = (
                facts["sent"] - half["sent"]
                if half is not None and facts["sent"] is not None
                else None
            )
            seconds, steps = reached(folder, args.goal), args.steps - args.steps // 2
            row = [
                f"{facts['whole']:.1f}",
                f"{facts['chars_per_second']:,}",
                f"{seconds:.1f}" if seconds else "",
            ]
            row += [
                f"{facts['valid_nats_per_token']:.4f}",
                f"{more / steps / 1e6:.2f}" if more is not None else "",
            ]
            print(f"| {ranks} x {threads} | {' | '.join(row)} |", flush=True)
    say("done")


if __name__ == "__main__":
    main()
