"""Compare the width that a time budget chooses with every fixed width, on texts and budgets.

    python tests/benchmarks/widths.py --texts data/benchmarks/*.txt --seconds 12 45 150 \\
        --options --threads 1

The last tenth of each text, which other figures report, takes no part: the rule is chosen on the
tenth before it, which is scored whole. Each run begins a new process, and one runs at a time, so
that the widths of a row have the machine alike. Progress goes to standard error, the table to
standard output (and to --out FILE, after each row).
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import Row, last_tenth, machine, run_json, say, table

from charrnn.training.width import WIDTHS

INNER = "0.111111"  # of nine tenths: the tenth before the last
COLUMNS = ("text", "seconds", *map(str, WIDTHS), "chosen", "behind the best")


def rows(texts: list[Path], budgets: list[int], options: list[str], folder: Path) -> Iterator[Row]:
    """Yield a row for each text and budget."""
    for text in texts:
        inner = folder / text.name
        whole = text.read_bytes().decode()
        inner.write_bytes(whole[: -len(last_tenth(text))].encode())
        for seconds in budgets:
            asked = ("--time", f"{seconds}s", "--valid-fraction", INNER, *options)
            found = {
                width: train(inner, folder, *asked, "--hidden-size", width)[0] for width in WIDTHS
            }
            nats, width = train(inner, folder, *asked)
            best = min(found.values())
            yield {
                "text": text.stem,
                "seconds": str(seconds),
                **{str(each): f"{one:.4f}" for each, one in found.items()},
                "chosen": f"{width}: {nats:.4f}",
                "behind the best": f"{nats - best:.4f}",
            }


def train(text: Path, folder: Path, *options: object) -> tuple[float, int]:
    """Train a model; return its nats per token of the held-out part, and its width."""
    result: dict[str, Any]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        result, _ = run_json("train", text, "--out", out, "--json", "--quiet", *options)
        width = json.loads((Path(out) / "config.json").read_text())["hidden_size"]
        report, _ = run_json("eval", out, "--json", "--no-baselines", "--threads", 1)
    nats = report["score"]["nats_per_token"]
    say(f"{width} wide: {nats:.4f}, {result['epochs']:.2f} epochs")
    return nats, width


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, nargs="+", required=True, metavar="TEXT")
    parser.add_argument("--seconds", type=int, nargs="+", default=[12, 45, 150])
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here too")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of charrnn train")
    args = parser.parse_args()
    head, found = machine(), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(args.texts, args.seconds, args.options, Path(folder)):
            found.append(row)
            if args.out:
                args.out.write_text(table(found, head, COLUMNS) + "\n", encoding="utf-8")
    print(table(found, head, COLUMNS))


if __name__ == "__main__":
    main()
