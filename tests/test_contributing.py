"""The table of inputs in CONTRIBUTING.md against the source, the tests and a run's folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## What the program reads")[2]
ROWS = [line.split("|")[1:-1] for line in TABLE.splitlines() if line.startswith("| ")][1:]
PLACES = ("", "charrnn", "charrnn/model")
QUOTED = re.compile("`([^`]+)`")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/files.md"])
def test_each_file_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`([a-z_/]+\.py)`", (ROOT / page).read_text())
    assert named
    for name in named:
        assert any((ROOT / place / name).is_file() for place in PLACES), name


def test_each_input_names_a_module_and_tests_that_are_there() -> None:
    assert len(ROWS) > 15
    for _, _, checked_by, tests in ROWS:
        for module in QUOTED.findall(checked_by):
            assert (ROOT / "charrnn" / f"{module}.py").is_file(), module
        for name in QUOTED.findall(tests):
            places = (ROOT / "tests", ROOT / "tests" / "torture")
            assert any((place / f"test_{name}.py").is_file() for place in places), name
        assert QUOTED.findall(tests)


def test_each_file_of_a_run_is_in_the_table(model: Path) -> None:
    named = " ".join(row[0] for row in ROWS)
    for path in model.iterdir():
        stem = path.name.removesuffix(".safetensors")
        assert f"`{path.name}`" in named or f"`{stem}`" in named, path.name
