"""What all commands write with --json, held against the tables of keys in the README."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal
from small_runs import OPTIONS, SETTINGS, arguments

from charrnn import load
from charrnn.__main__ import run
from charrnn.evaluation.score import Score

README = Path(__file__).parents[1] / "README.md"
# Their contents have keys that are options, names, or numbers.
OPEN = {
    *("config", "train", "settings", "machine", "sessions", "shares", "singular_values", "labels"),
    *("attention", "texts"),
}
SCORE = Score(1.0, 1, 1, 1).to_dict().keys()
MODEL = {"path", "sha256", "parameters", "table_parameters", "tokenizer", "vocab_size"}
# What these small runs do not have: BLEU is of references of four words.
UNSEEN = {"bleu", "bleu_signature", "chrf", "chrf_signature", "validated", "bytes"}

COMMANDS = {
    "eval": ["eval {model} {text} --json", "eval {model} --dynamic --json"],
    "eval of pairs": ["eval {pairs} {tsv} --train {tsv} --json", "eval {classes} --json"],
    "eval --by-line, --by-token": [
        "eval {model} {text} --by-line --json",
        "eval {model} {text} --by-token --json",
        "eval {pairs} {tsv} --by-line --json",
        "eval {pairs} {tsv} --by-token --json",
    ],
    "compare": ["compare {model} {lines} {text} --json"],
    "novelty": ["novelty {model} {text} --length 60 --json"],
    "gradients": ["gradients {model} {text} --lags 9 --json"],
    "sample": [
        "sample {model} the --length 9 --seed 1 --json",
        "sample {lines} --num 2 --seed 1 --training-text {text} --json",
        "sample {pairs} --source cat --json",
        "sample {classes} --source cat --json",
    ],
    "next": ["next {model} the --json"],
    "tokenize": ["tokenize {model} caZt --json"],
    "info": ["info {model} --json", "info {pairs} --json"],
    "runs": ["runs {folder} --json"],
    "train": [
        "train {text} --resume {model} --quiet --json",
        "train {text} --out {folder}/seeds --seeds 2 --quiet --json" + " {options}",
    ],
    "train --dry-run": ["train {text} --dry-run --json {options}"],
    "data": ["data --json", "data python-docs --folder {folder}/data --json"],
}


def documented() -> tuple[set[str], dict[str, set[str]]]:
    """Return the keys of all commands, and those of each."""
    section = README.read_text(encoding="utf-8").split("### The same in JSON")[1].split("\n## ")[0]
    common, own = section.split("| command |")
    rows = dict(re.findall(r"^\| (.*?) \| (.*) \|$", own, re.MULTILINE))
    keys = {name.replace("`", ""): set(re.findall(r"`(\w+)`", row)) for name, row in rows.items()}
    return set(re.findall(r"`(\w+)`", common)), keys


def tables(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each table of a JSON value, with its key; those whose keys are open are left out."""
    inside = enumerate(value) if isinstance(value, list) else value.items()
    for key, one in inside:
        if isinstance(one, dict) and key not in OPEN:
            yield str(key), one
        if isinstance(one, dict | list) and key not in OPEN:
            yield from tables(one)


@pytest.fixture(scope="module")
def places(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("json")
    tsv, classes = folder / "pairs.tsv", folder / "classes.tsv"
    tsv.write_text("".join(f"{word}\t{word[::-1]}\n" for word in ("cat", "mat", "hat") * 9))
    classes.write_text("".join(f"{word}\t{word[0]}\n" for word in ("cat", "mat", "hat", "act") * 9))
    settings = {name: one for name, one in SETTINGS.items() if name != "seq_len"}
    more = arguments(**settings | {"source": "text", "steps": 4})
    for path, options in ((tsv, []), (classes, ["--target", "label"])):
        command = ["train", str(path), "--out", str(folder / path.stem), "--quiet", *more, *options]
        assert run(command) == 0
    verse = folder / "verse.txt"
    verse.write_text("".join(f"the {word} sat\n" for word in ("cat", "dog", "hat", "mat", "rat")))
    records = ["--records", "lines", "--out", str(folder / "lines")]
    assert run(["train", str(verse), "--quiet", *OPTIONS, *records]) == 0
    return {
        "model": model,
        "text": text,
        "tsv": tsv,
        "pairs": folder / "pairs",
        "classes": folder / "classes",
        "lines": folder / "lines",
        "folder": folder,
        "options": " ".join(OPTIONS),
    }


def test_every_key_is_in_the_readme_and_means_the_same_everywhere(
    places: dict[str, Any], charrnn: Terminal
) -> None:
    common, own = documented()
    assert own.keys() == COMMANDS.keys()
    seen = set[str]()
    for name, commands in COMMANDS.items():
        for command in commands:
            lines = charrnn.ok(*command.format(**places).split()).out.splitlines()
            assert len(lines) == 1 or "--by-" in name
            for key, table in tables([json.loads(line) for line in lines]):
                keys = table.keys() - {"--"}
                assert keys <= common | own[name], (command, key, keys - common - own[name])
                seen |= keys
                check_meaning(key, table, places)
    assert set().union(*own.values()) - seen <= UNSEEN


def check_meaning(key: str, table: dict[str, Any], places: dict[str, Any]) -> None:
    """Check that a key that several commands use has the same keys below it."""
    if key == "model":
        assert table.keys() == MODEL
        assert table["sha256"] == load(table["path"]).saved.sha256
    if key == "score" and "tokens" in table:
        assert table.keys() == SCORE
    if key == "text":
        assert "name" in table
    if key == "text" and "bytes" in table:
        assert len(table["sha256"]) == 64
        assert table["characters"] <= table["bytes"]
    if "nats" in table:
        assert key in ("score", "valid"), "a sum of nats is part of a score"
