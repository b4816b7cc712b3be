import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from command_line import Terminal

# The models of the tests are so small that threads only cost; set before torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs and nohup ignore signals, and so would the tests and the processes that
# they start.
for name, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--browser", action="store_true", help="run the tests in a browser too")
    parser.addoption(
        "--rehearse-gpu",
        action="store_true",
        help="run the tests of the GPU on the CPU, to find their own mistakes",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rehearsal = config.getoption("--rehearse-gpu")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="runs with --slow"))
        if item.get_closest_marker("browser") and not config.getoption("--browser"):
            item.add_marker(pytest.mark.skip(reason="runs with --browser, by make browser-test"))
        rehearsed = rehearsal and "gpu" in getattr(item, "fixturenames", ())
        if item.get_closest_marker("gpu") and not has_cuda() and not rehearsed:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True, scope="session")
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let nothing be left in the system's folder for temporary files, and no bug go unnoticed."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))
        yield
    crashes = [path.read_text(encoding="utf-8") for path in folder.glob("charrnn-crash-*.log")]
    assert not crashes, "\n".join(crashes)


@pytest.fixture
def charrnn(capsys: pytest.CaptureFixture[str]) -> "Terminal":
    """The command line, in this process."""
    from command_line import Terminal

    return Terminal(capsys)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short text file; nobody may change it."""
    from small_runs import TEXT

    path = tmp_path_factory.mktemp("texts") / "animals.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is complete; nobody may change it."""
    from small_runs import OPTIONS

    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("runs") / "animals"
    assert run(["train", str(text), "--out", str(path), "--quiet", *OPTIONS]) == 0
    return path
