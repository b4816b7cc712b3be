"""The README's commands and Python run as they are written, on a small text and for a few steps."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from charrnn.__main__ import run
from charrnn.cli import COMMANDS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SMALL = ["--steps", "3", "--hidden-size", "8", "--threads", "1", "--batch-size", "4"]
LENGTHS = ("--preset", "--time", "--epochs", "--num-layers", "--hidden-size")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]


def shortened(words: list[str]) -> list[str]:
    """Give a training command few steps and a small model; the rest of it stays as it is."""
    if words[0] != "train":
        return words
    if "--resume" in words:  # longer than before
        return [*words[: words.index("--time")], "--steps", "5"]
    kept = []
    for before, word in zip(["", *words], words, strict=False):
        if word not in LENGTHS and before not in LENGTHS:
            kept.append(word)
    return kept + (SMALL if "--init-from" not in words else SMALL[:2] + SMALL[4:])


def write_pairs(folder: Path) -> None:
    """Write files of pairs under the names that the README has."""
    words = ["so we beat on", "the boats against", "the current", "borne back"]
    texts = [f"{one} {other}" for one in words for other in words]
    labels = ["poems" if len(text) % 2 else "news" for text in texts]
    (folder / "pictures").mkdir()
    for number in range(len(texts)):
        Image.new("RGB", (8, 8), (number * 9, 0, 0)).save(folder / f"pictures/{number}.png")
    pictures = [f"pictures/{number}.png" for number in range(len(texts))]
    sides = {
        "pairs": (texts, [text[::-1] for text in texts]),
        "reviews": (texts, labels),
        "titles": (labels, texts),
        "captions": (pictures, texts),
    }
    for name, (sources, targets) in sides.items():
        lines = (f"{source}\t{target}\n" for source, target in zip(sources, targets, strict=True))
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def test_every_command_and_the_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charrnn.data.python_prose.docstrings", lambda: iter(()))  # takes long
    write_pairs(tmp_path)
    assert len(commands()) >= 8
    for program, *words in commands():
        assert program == "charrnn"
        assert run(shortened(words)) == 0, f"charrnn {shlex.join(words)}\n{capsys.readouterr().err}"
        if words[0] == "data":  # a short text in its place: what is tested is the commands
            text = Path("data/python-prose.txt")
            text.write_text(text.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_every_option_that_is_named_exists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for words in (["train", "--help-all"], ["--help"], *([name, "--help"] for name in COMMANDS)):
        run(words)
    known = capsys.readouterr().out
    for option in sorted(set(re.findall(r"`[^`\n]*?(--[a-z-]+)", README))):
        assert re.search(rf"--(\[no-\])?{option[2:]}\b", known), option


def test_exit_codes_are_those_of_the_errors() -> None:
    for code in (
        "0 ok",
        "1 a bug",
        "2 usage",
        "3 the text",
        "4 a model file",
        "5 the machine",
        "6 training diverged",
    ):
        assert code in " ".join(README.split())


def test_what_make_offers_is_there() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ((?:[a-z]+ ?)+)`", README):
        for name in target.split():
            assert re.search(rf"^{name}:", makefile, re.MULTILINE), name
