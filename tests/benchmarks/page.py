"""The page of a model in headless Chromium: its size, its speed, and pictures of it for the README.

    python tests/benchmarks/page.py MODEL [--pictures docs]

MODEL is a run's folder; the page is scored on what the run held out.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import chromium
from chromium import Browser

from charrnn.__main__ import run
from charrnn.config.cells import CELLS

REPEATS, LENGTH = 5, 2000


def main() -> None:
    """Make a page, open it, measure, and take pictures if wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    program = chromium.find()
    if program is None:
        raise SystemExit("There is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.html"
        if run(["page", given.model, "-o", str(path)]) != 0:
            raise SystemExit(1)
        print(f"size of the page: {path.stat().st_size / 1e6:.2f} MB")
        with chromium.browser(program) as browser:
            browser.appearance(900, 900)
            browser.open(path)
            browser.wait("reader.isDone", 300)
            print(browser.run("document.getElementById('check').textContent"))
            measure(browser)
            if given.pictures:
                take_pictures(browser, given.pictures)


def measure(browser: Browser) -> None:
    """Print the speed at which the page writes."""
    speeds = []
    for _ in range(REPEATS):
        browser.run(f"document.getElementById('length').value = {LENGTH}; startWriting()")
        browser.wait("writing.writer.isDone", 300)
        speeds.append(browser.run("writing.drawn / writing.seconds"))
    shape = browser.run("[data.config.cell, data.config.num_layers, data.config.hidden_size]")
    assert shape[0] in CELLS
    shown = ", ".join(f"{speed:,.0f}" for speed in sorted(speeds))
    print(f"{shape[0]} {shape[1]} x {shape[2]}: {statistics.median(speeds):,.0f} symbols a second")
    print(f"({REPEATS} times {LENGTH:,} symbols: {shown})")


def take_pictures(browser: Browser, folder: Path) -> None:
    """Take a picture of the page, and one of a text coloured by its surprisal."""
    folder.mkdir(exist_ok=True)
    browser.run(
        "document.getElementById('length').value = 420; document.getElementById('prompt').value = "
        "'ROMEO:\\n'; startWriting()"
    )
    browser.wait("writing.writer.isDone")
    browser.run("writtenView.select(60); scrollTo(0, 0)")
    browser.screenshot(folder / "page.webp", "#write")
    browser.run("textView.select(Math.min(300, textView.spans.length - 1))")
    browser.screenshot(folder / "heatmap.webp", "#text")
    browser.run("if (data.units.length) chooseUnit(data.units[0].layer, data.units[0].unit)")
    browser.screenshot(folder / "unit.webp", "#text")


if __name__ == "__main__":
    main()
