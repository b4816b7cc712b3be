"""The table of inputs in CONTRIBUTING.md against the source, the tests and a run's folder."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## What the program reads")[2]
ROWS = [line.split("|")[1:-1] for line in TABLE.splitlines() if line.startswith("| ")][1:]
QUOTED = re.compile("`([^`]+)`")


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
