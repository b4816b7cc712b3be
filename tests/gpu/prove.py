"""`make gpu`: prove on a machine with an NVIDIA GPU that charrnn works there, and how fast.

    python3 tests/gpu/prove.py

It needs Python 3.11 or newer and the GPU's driver. It sets up what is missing in `.venv-gpu`, with
a build of torch that suits the driver (an interpreter that has all of it already is used as it is,
and then no network is needed), runs the tests marked `gpu`, and prints the figures of
`tests/benchmarks/gpu.py`. Tests and figures together take at most eight minutes.

`--rehearse` does the same on the CPU, in small, to find mistakes in the tests and the figures.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-gpu"
SECONDS, TEST_SECONDS = 470, 230  # for all of it, and for the tests at the most
TESTING = ("pytest", "pytest-xdist", "hypothesis")  # of the development tools, those of the tests
# The first driver for CUDA 13, for which torch on PyPI is built; older drivers need another build.
NEW_DRIVER = 13000
OLD_DRIVER_INDEX = "https://download.pytorch.org/whl/cu126"


class Refused(Exception):
    """Why the GPU cannot be tested, in one line."""


def driver_version() -> int:
    """Return the newest CUDA that the driver supports, as 1000 times major plus 10 times minor.

    Raises:
        Refused: There is no driver, or no GPU that it knows.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Refused("No NVIDIA driver is installed: libcuda.so.1 is not found.") from None
    count, version = ctypes.c_int(), ctypes.c_int()
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if failed or not count.value:
        raise Refused(f"The NVIDIA driver finds no GPU (error {failed}).")
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def lacking() -> Iterator[str]:
    """Yield what this interpreter lacks to run the tests."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield "packaging"
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tools = map(Requirement, project["optional-dependencies"]["dev"])
    needed = [
        *map(Requirement, project["dependencies"]),
        *(one for one in tools if one.name in TESTING),
    ]
    for one in needed:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            yield str(one)
        else:
            if not one.specifier.contains(found, prereleases=True):
                yield f"{one} (it has {found})"


def what_lacks(python: str) -> str:
    """Return what an interpreter lacks, as it says itself; empty if nothing."""
    command = [python, __file__, "--lacking"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return done.stdout.strip() if not done.returncode else done.stderr.strip().splitlines()[-1]


def sees_gpu(python: str) -> bool:
    """Return whether torch finds the GPU."""
    program = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return not subprocess.run([python, "-c", program], env=environment(), check=False).returncode


def interpreter(version: int) -> str:
    """Return an interpreter that has all that it takes, made if there is none.

    Args:
        version: What the driver supports; see `driver_version`.

    Raises:
        Refused: It cannot be made.
    """
    lacks = what_lacks(sys.executable)
    if not lacks and sees_gpu(sys.executable):
        return sys.executable
    python = str(ENVIRONMENT / "bin" / "python")
    if not (Path(python).exists() and not what_lacks(python) and sees_gpu(python)):
        say(f"{sys.executable} lacks: {lacks or 'a build of torch for CUDA'}")
        say(f"Setting up {ENVIRONMENT}: about 3 GB are downloaded.")
        set_up(python, version)
    if not sees_gpu(python):
        raise Refused("torch finds no GPU, though the driver does: it is built for another driver.")
    return python


def rehearsing() -> str:
    """Return an interpreter for a rehearsal, which needs no CUDA: the one of `make test`."""
    python = ROOT / ".venv" / "bin" / "python"
    return str(python) if python.exists() else sys.executable


def set_up(python: str, version: int) -> None:
    """Make a virtual environment; torch comes first and alone, from an index that has its build."""
    index = ["--extra-index-url", OLD_DRIVER_INDEX] if version < NEW_DRIVER else []
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    torch = f"torch=={pinned('torch')}"
    for command in (
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        [*install, *index, torch],
        [*install, "--editable", ".[dev]"],
    ):
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise Refused(f"The set-up failed: {' '.join(command)}")


def pinned(name: str) -> str:
    """Return the version of a package that constraints.txt pins."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}==")).partition("==")[2]


def environment() -> dict[str, str]:
    """Return the environment for interpreters that need not have charrnn installed."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(command: list[str], seconds: float) -> str:
    """Run a command to its end, or stop it after some seconds; return what went wrong."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {seconds:.0f} seconds"
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    return f"exit code {code}" if code else ""


def say(line: str) -> None:
    """Print a line at once, before the output of the next command."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def prove(python: str, options: argparse.Namespace) -> int:
    """Run the tests and print the figures; return the exit code."""
    began, rehearse = time.monotonic(), options.rehearse
    tests = [python, "-m", "pytest", "-q", "-m", "gpu", "-n", "4", "-p", "no:cacheprovider"]
    tests += ["--rehearse-gpu"] * rehearse + options.tests
    problems = {"The tests": run(tests, TEST_SECONDS)}
    left = SECONDS - (time.monotonic() - began)
    figures = [python, "tests/benchmarks/gpu.py", "--seconds", str(int(left - 10))]
    figures += ["--rehearse"] * rehearse
    figures += ["--text", str(options.text)] if options.text else []
    problems["The figures"] = run(figures, left)
    say(f"\nTests and figures took {time.monotonic() - began:.0f} seconds.")
    for what, problem in problems.items():
        say(f"{what}: {problem or 'passed'}")
    return int(any(problems.values()))


def main() -> int:
    """Set up, test, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="tiny Shakespeare")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    parser.add_argument("--lacking", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("tests", nargs="*", help="pytest's options, after --")
    options: Any = parser.parse_args()
    if options.lacking:
        say(", ".join(lacking()))
        return 0
    try:
        python = rehearsing() if options.rehearse else interpreter(driver_version())
    except Refused as reason:
        sys.stderr.write(f"make gpu: {reason}\n")
        return 1
    return prove(python, options)


if __name__ == "__main__":
    sys.exit(main())
