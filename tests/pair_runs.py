"""Files of pairs and models of them that are so small that they train in a moment."""

from pathlib import Path
from typing import Any

from PIL import Image
from small_runs import arguments

from charrnn.__main__ import run

SMALL: dict[str, Any] = {
    "hidden_size": 12,
    "embedding_size": 6,
    "num_layers": 1,
    "batch_size": 8,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "steps": 12,
    "eval_every": 6,
    "dropout": 0,
}
WORDS = ["sun", "moon", "star", "rain", "snow", "wind", "leaf", "tree", "bird", "fish", "sea"]


def lines_of(kind: str, target: str, folder: Path) -> list[str]:
    """Pairs for each kind of source: words backwards, or which half of the alphabet they are of."""
    lines = []
    for number, word in enumerate(WORDS * 3):
        label = "early" if word < "o" else "late"
        text = f"{word} {WORDS[number // 3]}"
        source = {"text": text, "label": label, "image": f"{number}.png"}[kind]
        if kind == "image":
            Image.new("RGB", (9, 7), (number * 7, 0, 200)).save(folder / source)
        lines.append(f"{source}\t{label if target == 'label' else text[::-1]}\n")
    return lines


def train(folder: Path, kind: str, target: str = "text", **settings: Any) -> Path:
    pairs, out = folder / "pairs.tsv", folder / "run"
    pairs.write_text("".join(lines_of(kind, target, folder)), encoding="utf-8")
    options = arguments(**SMALL | {"source": kind, "target": target} | settings)
    assert run(["train", str(pairs), "--out", str(out), "--quiet", *options]) == 0
    return out
