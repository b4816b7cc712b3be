"""Train a model with each kind of tokenizer for the same time, and compare them.

    python tests/benchmarks/tokenizers.py --text data/shakespeare.txt --time 60s
    python tests/benchmarks/tokenizers.py --text data/shakespeare.txt \\
        --kinds char bpe:300 bpe:1000 word:2000

A kind may name its vocabulary size. Prints what `charrnn compare` says of the held-out tenth, the
baselines primed with the training part.
"""

import argparse
import tempfile
from pathlib import Path

from bench import last_tenth, machine, run_json, say

COLUMNS = (
    "vocabulary",
    "parameters",
    "tokens_per_char",
    "perplexity",
    "bits_per_char",
    "bits_per_byte",
)


def main() -> None:
    """Train, compare, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--time", default="60s", help="for each, the whole command")
    parser.add_argument("--kinds", nargs="+", default=["char", "byte", "word", "bpe", "unigram"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, sizes = Path(name), {}
        for kind in args.kinds:
            tokenizer, _, size = kind.partition(":")
            options = (
                "--tokenizer",
                tokenizer,
                *(("--vocab-size", size) if size else ()),
                "--time",
                args.time,
            )
            run_json("train", args.text, "--out", folder / kind, "--json", *options)
            sizes[kind] = run_json("info", folder / kind, "--json")[0]["config"]["vocab_size"]
        held_out, train = folder / "held-out.txt", folder / "train.txt"
        content = args.text.read_bytes().decode()
        held_out.write_text(last_tenth(args.text), encoding="utf-8", newline="")
        train.write_text(
            content[: len(content) - len(last_tenth(args.text))], encoding="utf-8", newline=""
        )
        models = [folder / kind for kind in args.kinds]
        found, _ = run_json("compare", *models, held_out, "--train", train, "--json")
    print(f"{machine()}; {args.text.stem}, {args.time} each\n")
    print(f"| model | {' | '.join(COLUMNS)} |\n{'|---' * (len(COLUMNS) + 1)}|")
    for kind, row in zip(args.kinds, found["models"], strict=True):
        values = row | row["score"]
        figures = [f"{values[column]:,.4f}" for column in COLUMNS[2:]]
        parameters = row["runs"][0]["model"]["parameters"]
        print(f"| {kind} | {sizes[kind]:,} | {parameters:,} | {' | '.join(figures)} |")
    for row in found["baselines"]:
        bits = [row["score"][name] for name in ("bits_per_char", "bits_per_byte")]
        print(f"| {row['name']} | | | | | {bits[0]:.4f} | {bits[1]:.4f} |")
    say("done")


if __name__ == "__main__":
    main()
