"""Measure how fast a text of any size becomes ids, and what that takes of the memory.

    python tests/benchmarks/encoding.py TEXT               1 GB of TEXT, again and again, between
                                                           lines that differ
    python tests/benchmarks/encoding.py A B --size 100     100 MB of each
    python tests/benchmarks/encoding.py TEXT --only char   one kind of tokenizer, and no other
                                                           encoders

Speeds are MB of the text as UTF-8 in a second of the processor, on one core, from a file to a file:
`read` is the first pass (decode, count, SHA-256), `learn` the tokenizer's training, `encode` the
last pass over each part (decode, SHA-256 again, ids, checksum, write, fsync), `all` the three
together. `seconds` is how long the three took by the clock, the disk included, and `of them disk`
how long it takes to write and fsync as many bytes and nothing else. Other encoders get a slice of
the text, in memory, in lines. Memory is the peak of `charrnn train --steps 1` on 1 MB of the text
and on all of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from bench import machine, say

from charrnn.data.formats import PLAIN
from charrnn.data.id_cache import encode_cached
from charrnn.data.split import split_text
from charrnn.data.text import read_text
from charrnn.tokenizers import KINDS, train_tokenizer

MB = 1_000_000
SLICE = 20 * MB  # what other encoders get
COLUMNS = (
    "encoder",
    "text",
    "MB",
    "read",
    "learn",
    "encode",
    "all",
    "seconds",
    "of them disk",
    "peak MB at 1 MB",
    "peak MB",
)
SETTINGS = [
    "--steps",
    "1",
    "--hidden-size",
    "64",
    "--num-layers",
    "1",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--quiet",
]
PEAK = """
import resource, runpy, sys
sys.argv[0] = 'charrnn'
code = 0
try:
    runpy.run_module('charrnn', run_name='__main__')
except SystemExit as leaving:
    code = leaving.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
Row = dict[str, Any]


def write_long(source: Path, path: Path, size: int) -> Path:
    """Write `size` bytes or a little more: a text again and again, each with a line before it."""
    text = source.read_bytes()
    with path.open("wb") as file:
        for number in count(1):
            if file.tell() >= size:
                return path
            file.write(
                f"Copy {number}.\n".encode()
                + text[: max(1, size - file.tell())].decode(errors="ignore").encode()
            )
    raise AssertionError


def charrnn_row(kind: str, path: Path, small: Path) -> Row:
    """Measure the passes that `charrnn train` makes, and its memory."""
    began, clock = time.perf_counter(), [time.process_time()]
    text = read_text([str(path)])
    clock.append(time.process_time())
    split = split_text(text, PLAIN, 0.1)
    tokenizer = train_tokenizer(kind, split.train.units())
    clock.append(time.process_time())
    ids = path.with_name("text.ids")
    encode_cached(tokenizer, split, ids)
    clock.append(time.process_time())
    seconds, size = time.perf_counter() - began, text.bytes / MB
    row: Row = {"encoder": f"charrnn {kind}", "text": path.stem, "MB": size}
    row |= {
        name: size / (end - begin)
        for name, (begin, end) in zip(("read", "learn", "encode"), pairwise(clock), strict=True)
    }
    row |= {"all": size / (clock[-1] - clock[0]), "seconds": seconds, "of them disk": disk(ids)}
    ids.unlink()
    return row | {"peak MB at 1 MB": peak(kind, small, small), "peak MB": peak(kind, path, small)}


def disk(path: Path) -> float:
    """Return how many seconds it takes to write a file again, of the same length."""
    zeros, left = bytes(MB), path.stat().st_size
    before = time.perf_counter()
    with path.with_name("zeros").open("wb") as file:
        while left:
            left -= file.write(zeros[:left])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - before
    path.with_name("zeros").unlink()
    return seconds


def peak(kind: str, path: Path, valid: Path) -> float:
    """Return the peak memory of one training step, in MB; what is held out is short."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        words = [
            "train",
            str(path),
            "--tokenizer",
            kind,
            "--valid",
            str(valid),
            "--out",
            f"{folder}/run",
            *SETTINGS,
        ]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"charrnn {' '.join(words)}\n{done.stderr}")
    return int(done.stderr.split()[-1]) / (1 if sys.platform == "linux" else 1000) * 1024 / MB


def dictionary(text: str) -> Callable[[str], list[int]]:
    """Return what most tutorials do."""
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    return lambda line: [ids[character] for character in line]


def sentencepiece(text: str) -> Callable[[str], list[int]]:
    """Return sentencepiece's own encoder, trained as its README says, on the first 2 MB."""
    import io

    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(text[: 2 * MB].splitlines()),
        model_writer=model,
        vocab_size=2000,
        model_type="bpe",
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    encode = SentencePieceProcessor(model_proto=model.getvalue()).encode
    return lambda line: list(encode(line))


def other_rows(path: Path) -> Iterator[Row]:
    """Measure other encoders on a slice."""
    with path.open("rb") as file:
        text = file.read(SLICE).decode(errors="ignore")
    size = len(text.encode()) / MB
    for name, make in {
        "a dictionary, in Python": dictionary,
        "sentencepiece bpe": sentencepiece,
    }.items():
        before = time.process_time()
        encode = make(text)
        learned = time.process_time()
        for line in text.splitlines(keepends=True):
            encode(line)
        yield {
            "encoder": name,
            "text": path.stem,
            "MB": size,
            "encode": size / (time.process_time() - learned),
        } | {"learn": size / (learned - before) if make is dictionary else None}


def measure(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure each encoder on each text."""
    for source in args.texts:
        path = write_long(source, folder / source.name, args.size * MB)
        small = write_long(source, folder / f"small-{source.name}", min(args.size, 1) * MB)
        for kind in args.only or KINDS:
            yield charrnn_row(kind, path, small)
        if not args.only:
            yield from other_rows(path)
        path.unlink()


def table(rows: list[Row], head: str) -> str:
    """Return the rows as Markdown, under a line about the machine."""
    lines = [head, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    shown = ([cell(row.get(name)) for name in COLUMNS] for row in rows)
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in shown])


def cell(value: float | str | None) -> str:
    """Return a value as the table shows it: three digits are enough."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    """Measure what was asked for; a line for each row, and the table at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--size", type=int, default=1000, help="MB; 1000 if not given")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the long texts go; the system's temporary folder if not given",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    head, rows = machine(), list[Row]()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for row in measure(args, Path(folder)):
            rows.append(row)
            say(json.dumps(row))
            if args.json:
                args.json.write_text(
                    json.dumps({"machine": head, "rows": rows}) + "\n", encoding="utf-8"
                )
    print(table(rows, head))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
