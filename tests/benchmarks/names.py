"""Train on made-up names, as a person would, and see whether what the model writes are names.

    python tests/benchmarks/names.py                             preset quick
    python tests/benchmarks/names.py --options --time 30s        or any options of `charrnn train`

The names follow a grammar of syllables, so that a name that nobody has seen can be told from
letters in a row: every sample is checked against it. Figures: seconds of the whole command, nats
per character of the held-out names beside those of the grammar itself, and of 1000 samples the
share that follows the grammar, that ends by itself, that stands in the training text and that
stands among the names held out.
"""

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charrnn.data.formats import RecordFormat
from charrnn.data.split import split_text
from charrnn.data.text import read_text

ONSETS = [
    *("m", "l", "k", "s", "r", "t", "n", "d", "b", "v", "j", "c", "h", "z", "p", "f"),
    *("th", "br", "dr", "kr", "st", "sh", "gr", "tr", "ch"),
]
VOWELS = ["a", "e", "i", "o", "u", "ia", "ea", "ai", "ie"]
CODAS = ["", "", "", "", "n", "l", "r", "s", "m", "x"]
ENDINGS = ["a", "en", "o", "ie", "in", "us", "el", "ette", "ard", "is", "on", "ina"]
SYLLABLE = f"(?:{'|'.join(ONSETS)})(?:{'|'.join(VOWELS)})[nlrsmx]?"
NAME = re.compile(
    f"(?:[aeio][nlr])?(?:{SYLLABLE}){{1,2}}(?:{'|'.join(ONSETS)})(?:{'|'.join(ENDINGS)})"
)
NUM = 1000

Part = dict[str, float]  # the choices for a part of a name, and how probable each is


def usual(parts: list[str]) -> Part:
    """Return a part of which the first choices are the likeliest."""
    weights = [1 / (rank + 2) for rank in range(len(parts))]
    return {part: weights[rank] / sum(weights) for rank, part in enumerate(parts)}


def evenly(parts: Iterable[str]) -> Part:
    """Return a part of which each choice that is listed is as likely."""
    listed = list(parts)
    return {part: listed.count(part) / len(listed) for part in listed}


OPENING = {"": 0.8} | {vowel + coda: 0.2 / 12 for vowel in "aeio" for coda in "nlr"}
MIDDLE = [usual(ONSETS), usual(VOWELS), evenly(CODAS)]
LAST = [usual(ONSETS), usual(ENDINGS)]
FORMS = (([OPENING, *MIDDLE, *LAST], 2 / 3), ([OPENING, *MIDDLE, *MIDDLE, *LAST], 1 / 3))


def made_up_name(rng: random.Random) -> str:
    """Draw one name."""
    (parts,) = rng.choices([form for form, _ in FORMS], [share for _, share in FORMS])
    return "".join(rng.choices(list(part), list(part.values()))[0] for part in parts)


def grammar_nats(name: str) -> float:
    """Return the negative log likelihood of a name, with its end, under its grammar."""
    total = 0.0
    for parts, share in FORMS:
        reached = {0: share}
        for part in parts:
            following = dict[int, float]()
            for place, probability in reached.items():
                for choice, weight in part.items():
                    if name.startswith(choice, place):
                        after = place + len(choice)
                        following[after] = following.get(after, 0.0) + probability * weight
            reached = following
        total += reached.get(len(name), 0.0)
    return -math.log(total)


def made_up_names(count: int, seed: int = 1) -> list[str]:
    """Return so many distinct names, sorted as lists are."""
    rng, names = random.Random(seed), set[str]()
    while len(names) < count:
        names.add(made_up_name(rng))
    return sorted(names)


def charrnn(*arguments: Any) -> str:
    """Run a command and return its standard output."""
    command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(folder: Path, count: int, options: list[str]) -> dict[str, Any]:
    """Train, sample and judge."""
    text, out = folder / "names.txt", folder / "run"
    text.write_text("\n".join(made_up_names(count)) + "\n", encoding="utf-8")
    begin = time.monotonic()
    trained = json.loads(
        charrnn("train", text, "--out", out, "--records", "lines", "--json", *options)
    )
    seconds = time.monotonic() - begin
    samples = charrnn("sample", out, "--num", NUM, "--seed", 1, "--temperature", 1).split("\n")[:-1]
    split = split_text(read_text([str(text)]), RecordFormat("\n"), 0.1)
    train, valid = ({name.rstrip() for name in part.units()} for part in (split.train, split.valid))

    def share(kept: Any) -> float:
        return sum(map(bool, kept)) / NUM

    return {
        "names": count,
        "seconds": round(seconds, 1),
        "epochs": round(trained["epochs"], 1),
        "best step": f"{trained['best_step']} of {trained['step']}",
        "nats/char": round(trained["valid_bits_per_char"] * math.log(2), 4),
        "the grammar's own": round(
            sum(map(grammar_nats, valid)) / sum(len(name) + 1 for name in valid), 4
        ),
        "follow the grammar": share(NAME.fullmatch(sample) for sample in samples),
        "in the training text": share(sample in train for sample in samples),
        "held out": share(sample in valid for sample in samples),
        "distinct": len(set(samples)) / NUM,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=4000, help="names in the list")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=["--preset", "quick"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measure(Path(folder), given.count, given.options).items():
            print(f"{name:22} {value}")
