"""The benchmark of encoding runs, small, and says what it should."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT

SCRIPT = Path(__file__).parent / "benchmarks" / "encoding.py"


@pytest.mark.slow
def test_it_measures_and_writes_a_table(text: Path, tmp_path: Path) -> None:
    words = [
        SCRIPT,
        text,
        "--size",
        "1",
        "--only",
        "char",
        "--folder",
        tmp_path,
        "--json",
        tmp_path / "figures.json",
    ]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert row["MB"] == pytest.approx(1, abs=0.01)
    assert row["peak MB"] > 50
    assert "| charrnn char | animals |" in done.stdout
