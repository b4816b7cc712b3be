import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting import COUNTED, COUNTS, Amount
from processes import Command, warm_up
from small_runs import OPTIONS, TEXT, arguments


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counter[str]:
    """Return what the tests have survived so far, by the names in `COUNTED`."""
    return pytestconfig.stash.setdefault(COUNTS, Counter())


@pytest.fixture(scope="session")
def amount(pytestconfig: pytest.Config) -> Amount:
    """Return a function: its first argument in `make test`, its second in `make torture`."""
    full = pytestconfig.getoption("--slow")
    return lambda few, many: many if full else few


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Give a folder in memory where there is one.

    A thousand runs that fsync would wait for a disk most of the time.
    """
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="charrnn-", dir=where) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Train once in this process, so that no process forked from it has anything left to import."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "text.txt").write_text(TEXT)
    warm_up(["train", str(folder / "text.txt"), *OPTIONS, "--out", str(folder / "run"), "-q"])


@pytest.fixture
def command(tmp_path: Path, warm: None) -> Command:
    """Return a small run as a command line without its folder; it saves after every second step."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    return Command(["train", str(text), *OPTIONS, *arguments(save_every=2)])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash.get(COUNTS, Counter())
    reports = [
        report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])
    ]
    counts["bad inputs tried"] += sum("test_bad_input" in report.nodeid for report in reports)
    if not counts.total():
        return
    terminalreporter.section("torture")
    for name in COUNTED:
        terminalreporter.line(f"{counts[name]:>9,}  {name}")
    failures = sum(len(terminalreporter.stats.get(kind, [])) for kind in ("failed", "error"))
    terminalreporter.line(f"{failures:>9,}  failures")
