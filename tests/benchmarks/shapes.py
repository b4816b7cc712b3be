"""Describe made-up pictures: one to three coloured shapes and how they lie to each other.

    python tests/benchmarks/shapes.py data/shapes           write 8,000 + 1,000 pictures and pairs
    charrnn train data/shapes/train.tsv --source image ...  (see RESULTS.md)

The combinations of colour and shape of a picture of the test set never occur together in the
training set: what is learned has to be colours, shapes and places, not pictures.
"""

import random
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE, CELLS = 32, 3  # pixels; a grid of 3 x 3 places
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 40),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "cross")
Thing = tuple[str, str]  # a colour and a shape


def mask(shape: str, size: int) -> NDArray[np.bool_]:
    """Return the pixels of a shape in a square of `size`."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = size / 2
    if shape == "circle":
        found = x**2 + y**2 <= (radius - 0.2) ** 2
    elif shape == "square":
        found = np.maximum(abs(x), abs(y)) <= radius - 1
    elif shape == "triangle":
        found = abs(x) <= (y + radius) / 2
    else:
        found = np.minimum(abs(x), abs(y)) <= radius / 4
    return np.asarray(found, np.bool_)


def draw(things: list[Thing], places: list[tuple[int, int]], rng: random.Random) -> Image.Image:
    """Return a picture of things at some places of the grid, (column, row)."""
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for (colour, shape), (column, row) in zip(things, places, strict=True):
        size = rng.randint(7, 9)
        left, top = (place * SIZE // CELLS + rng.randint(0, 10 - size) for place in (column, row))
        pixels[top : top + size, left : left + size][mask(shape, size)] = COLOURS[colour]
    return Image.fromarray(pixels)


def caption(things: list[Thing], places: list[tuple[int, int]]) -> str:
    """Return a sentence: the things from left to right, or from top to bottom, and a relation."""
    names = [f"a {colour} {shape}" for colour, shape in things]
    if len(names) == 1:
        return names[0]
    across = len({column for column, _ in places}) == len(places)
    return (" left of " if across else " above ").join(names)


def example(kinds: list[Thing], rng: random.Random) -> tuple[Image.Image, str]:
    """Return a picture of things in a row or a column, in random order, and its caption."""
    things = rng.sample(kinds, len(kinds))
    line, along = rng.randrange(CELLS), sorted(rng.sample(range(CELLS), len(things)))
    across = rng.random() < 0.5
    places = [(place, line) if across else (line, place) for place in along]
    return draw(things, places, rng), caption(things, places)


def main(folder: Path, sizes: dict[str, int]) -> None:
    """Write the pictures and the pairs of both sets."""
    rng = random.Random(1)
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    several = [
        list(chosen)
        for count in (2, 3)
        for chosen in combinations_with_replacement(kinds, count)
        if len(set(chosen)) == count
    ]
    rng.shuffle(several)
    held_out = len(several) // 5
    sets = {"test": several[:held_out], "train": several[held_out:]}
    for name, size in sizes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = []
        for number in range(size):
            alone = name == "train" and number % 10 == 0
            things = [rng.choice(kinds)] if alone else rng.choice(sets[name])
            picture, text = example(things, rng)
            picture.save(folder / name / f"{number}.png")
            lines.append(f"{name}/{number}.png\t{text}\n")
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), {"train": 8000, "test": 1000})
