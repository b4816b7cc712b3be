"""Measure charrnn as a person meets it: whole commands, timed from outside.

Beside them stands a baseline given the same wall time.

    python tests/benchmarks/bench.py --text data/shakespeare.txt
    python tests/benchmarks/bench.py --text data/shakespeare.txt --nanogpt nanoGPT \\
        --only nanogpt quick goal reset
    python tests/benchmarks/bench.py --text data/shakespeare.txt --only texts \\
        --texts data/benchmarks/*.txt

Figures (all of them unless --only says which):

    nanogpt   nanoGPT's CPU recipe, if --nanogpt says where a checkout is
    quick     `charrnn train` with --preset quick
    reset     the model of `quick`, scored in blocks of 256 that know nothing of each other
    goal      the shortest `charrnn train` of a small model that ends at 1.88 nats per character
              or less
    default   `charrnn train` with no option
    best      `charrnn train` with --preset best
    texts     `quick` and `default` on each of --texts
    quick-texts    `quick` alone on each of them

One process runs at a time. Progress goes to standard error, the table to standard output (and to
--out FILE).
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GOAL = 1.88
GOAL_STEPS = range(15, 1001, 5)
# Large batches of short sequences take the fewest seconds to get there: the state is carried on.
SHORT_STEPS = ("--batch-size", 256, "--seq-len", 8, "--match-window", 0)
GOAL_SHAPE = ("--hidden-size", 128, "--num-layers", 1, *SHORT_STEPS)
PRESETS = {"quick": ("--preset", "quick"), "default": (), "best": ("--preset", "best")}
COLUMNS = (
    "figure",
    "text",
    "seconds",
    "steps",
    "chars/s",
    "parameters",
    "nats/char",
    "bits/char",
    "baseline in that time",
)
Row = dict[str, Any]


class Bench:
    """Runs the figures of one text after another; a row of the table for each.

    Attributes:
        text: The text that the figures are about.
        texts: Those of the figure `texts`.
        nanogpt: A checkout of nanoGPT, or None.
        threads: Options that set the number of threads, or none.
        folder: Where the runs go.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.text: Path = args.text
        self.texts: list[Path] = args.texts
        self.nanogpt_folder: Path | None = args.nanogpt
        self.threads = ("--threads", str(args.threads)) if args.threads else ()
        self.folder = folder

    def figures(self) -> dict[str, Callable[[], Iterator[Row]]]:
        """Return the figures by name, in the order in which they run."""
        return {
            "nanogpt": self.nanogpt,
            "quick": lambda: self.train("quick", self.text),
            "reset": self.reset,
            "goal": self.goal,
            "default": lambda: self.train("default", self.text),
            "best": lambda: self.train("best", self.text),
            "texts": lambda: self.train_all("quick", "default"),
            "quick-texts": lambda: self.train_all("quick"),
        }

    def train(self, preset: str, text: Path) -> Iterator[Row]:
        """Train with a preset, then the baseline for as long."""
        row = self.command(preset, text, self.run_folder(preset, text), *PRESETS[preset])
        baseline, _ = run_json(
            *("baseline.py", "--text", text, "--seconds", f"{row['seconds']:.1f}", *self.threads),
            script=True,
        )
        figures = f"{baseline['valid_nats']:.4f} ({baseline['epochs']:.1f} epochs)"
        yield row | {"baseline in that time": figures}

    def train_all(self, *presets: str) -> Iterator[Row]:
        """Train with presets on each of the texts."""
        for path in self.texts:
            for name in presets:
                yield from self.train(name, path)

    def command(self, figure: str, text: Path, out: Path, *options: object) -> Row:
        """Run `charrnn train`; return its row."""
        result, seconds = run_json(
            "train", text, "--out", out, "--fresh", "--json", *options, *self.threads
        )
        row = {"figure": figure, "text": text.stem, "seconds": seconds, "steps": result["step"]}
        row |= {"chars/s": result["tokens"] / result["seconds"], "parameters": result["parameters"]}
        # A timed run scores only a part of a long text; all of it is scored here.
        score = run_json("eval", out, "--json", "--no-baselines")[0]["score"]
        return row | {"nats/char": score["nats_per_token"], "bits/char": score["bits_per_char"]}

    def goal(self) -> Iterator[Row]:
        """Give a small model more and more steps until the goal is reached.

        The whole command counts.
        """
        for steps in GOAL_STEPS:
            options = (*GOAL_SHAPE, "--steps", steps, "--eval-every", steps)
            row = self.command(
                f"{GOAL} or less", self.text, self.folder / f"goal-{steps}", *options
            )
            if row["nats/char"] <= GOAL:
                yield row | {"figure": f"{GOAL} or less: {' '.join(map(str, options))}"}
                return
        yield {"figure": f"{GOAL} or less: not reached", "text": self.text.stem}

    def reset(self) -> Iterator[Row]:
        """Score the held-out tenth with the model of `quick`: blocks of 64 and 256, and carried."""
        out = self.run_folder("quick", self.text)
        if not out.exists():
            self.command("quick", self.text, out, *PRESETS["quick"])
        held_out = self.folder / "held-out.txt"
        held_out.write_text(last_tenth(self.text), encoding="utf-8", newline="")
        protocols = {f"reset every {size}": ("--reset-every", str(size)) for size in (64, 256)}
        for figure, options in {**protocols, "carried": ()}.items():
            found, seconds = run_json("eval", out, held_out, "--json", *options)
            score = found["score"]
            row = {"figure": f"quick, {figure}", "text": self.text.stem, "seconds": seconds}
            yield row | {"nats/char": score["nats_per_token"], "bits/char": score["bits_per_char"]}

    def nanogpt(self) -> Iterator[Row]:
        """Run nanoGPT's recipe."""
        if self.nanogpt_folder is None:
            say("nanogpt: left out, as --nanogpt does not say where it is")
            return
        options = ("--dir", self.nanogpt_folder, "--text", self.text, "--goal", GOAL, *self.threads)
        result, _ = run_json("nanogpt.py", *options, script=True)
        row = {
            "figure": "nanoGPT, its estimate",
            "text": self.text.stem,
            "seconds": result["seconds"],
        }
        row |= {
            "steps": result["steps"],
            "chars/s": result["chars_per_second"],
            "parameters": result.get("parameters"),
        }
        yield row | nats(result["valid_nats"])
        if "whole_valid_nats" in result:
            yield (
                row
                | {"figure": "nanoGPT, whole text, blocks of 64"}
                | nats(result["whole_valid_nats"])
            )
        goal = {
            "figure": f"nanoGPT, {GOAL} or less",
            "seconds": result["goal_seconds"],
            "steps": result["goal_step"],
        }
        yield {"text": self.text.stem} | goal

    def run_folder(self, preset: str, text: Path) -> Path:
        """Return where the run of a preset on a text goes."""
        return self.folder / f"{text.stem}-{preset}"


def nats(value: float) -> Row:
    """Return a loss in both units."""
    return {"nats/char": value, "bits/char": value / math.log(2)}


def last_tenth(path: Path) -> str:
    """Return what `charrnn train` holds out: the last tenth, rounded up to a whole character."""
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    return text[math.floor(len(text) * (1 - Fraction(1, 10))) :]


def run_json(
    *arguments: object, script: bool = False, launcher: tuple[str, ...] = ()
) -> tuple[dict[str, Any], float]:
    """Run charrnn, or a script beside this one.

    Return the JSON object that it printed, and the seconds it took.

    Args:
        arguments: Of charrnn, or the script and its own.
        script: Run a script.
        launcher: Arguments of Python that start charrnn in several processes.
    """
    words = [str(argument) for argument in arguments]
    program = [str(HERE / words.pop(0))] if script else [*launcher, "-m", "charrnn"]
    command = [sys.executable, *program, *words]
    say(f"{datetime.now():%H:%M:%S} {' '.join(words)}")
    start = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"That ended with exit code {done.returncode}.")
    return json.loads(done.stdout), seconds


def machine() -> str:
    """Describe what the figures were measured on."""
    cpu, wide = processor()
    floats = (
        f"bfloat16 instructions: {', '.join(wide)}" if wide else "no bfloat16 instructions found"
    )
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    machine = f"{cpu}, {os.cpu_count()} cores, {floats}; {platform.system()}"
    return f"{machine}; {versions}; {datetime.now():%Y-%m-%d}; {load}"


def processor() -> tuple[str, list[str]]:
    """Return the processor's name and which of its instructions multiply in bfloat16."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    values = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = values.get("flags", values.get("Features", "")).split()
    return values.get("model name", platform.machine()), [flag for flag in flags if "bf16" in flag]


def table(rows: list[Row], head: str, columns: Sequence[str] = COLUMNS) -> str:
    """Return the rows as Markdown, under a line about the machine."""
    lines = [head, "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += [
        "| " + " | ".join(cell(name, row.get(name)) for name in columns) + " |" for row in rows
    ]
    return "\n".join(lines)


def cell(name: str, value: Any) -> str:
    """Return a value as its column shows it."""
    if value is None or isinstance(value, str):
        return value or ""
    return {
        "seconds": f"{value:.1f}",
        "nats/char": f"{value:.4f}",
        "bits/char": f"{value:.3f}",
    }.get(name, f"{value:,.0f}")


def say(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what was asked for; the table so far is written after each row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="+", default=[], metavar="TEXT")
    parser.add_argument("--nanogpt", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="FIGURE")
    parser.add_argument("--threads", type=int, help="all cores if not given")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keep the runs here")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = Bench(args, args.runs or Path(folder)).figures()
        if unknown := set(args.only or ()) - figures.keys():
            parser.error(f"no figure named {', '.join(unknown)}; there are {', '.join(figures)}")
        head, rows = machine(), list[Row]()
        for name in [name for name in figures if not args.only or name in args.only]:
            for row in figures[name]():
                rows.append(row)
                say(table(rows[-1:], "").splitlines()[-1])
                if args.out:
                    args.out.write_text(table(rows, head) + "\n", encoding="utf-8")
    print(table(rows, head))


if __name__ == "__main__":
    main()
