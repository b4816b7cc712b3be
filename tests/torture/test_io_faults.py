"""Fail the N-th system call on the run's files, or all from it on, for N = 1, 2, 3 ...

Until a whole run passes.
"""

import errno
import hashlib
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from calls import Call, Failing, watched
from counting import Amount
from processes import EXIT_CODES, Command, Ended, run, warm_up
from small_runs import results

from charrnn.errors import CharRNNError
from charrnn.storage.container import load

ERRORS = [errno.ENOSPC, errno.EIO, errno.EACCES]
STRIDE = 120  # between the calls that fail in a short test; each of the six begins elsewhere
FOREVER = 1_000_000
SAVING = re.compile(r"FAILED (open|write|fsync|replace) \.(last|model)\.")


@dataclass(frozen=True)
class Reference:
    """A run in which nothing failed.

    What it left, and the digest of each file that it gave a good name to.
    """

    results: dict[str, Any]
    written: set[str]


@pytest.fixture
def reference(command: Command, tmp_path: Path) -> Reference:
    folder, written = tmp_path / "whole", set()

    def look(call: Call) -> None:
        if call.name == "replace":
            written.add(digest(Path(call.args[0])))

    with watched((folder,), look):
        warm_up([*command.on(folder), "-q"])
    return Reference(results(folder), written)


@pytest.mark.parametrize("times", [1, FOREVER], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_each_call_may_fail(
    error: int,
    times: int,
    reference: Reference,
    command: Command,
    tmp_path: Path,
    counts: Counter[str],
    amount: Amount,
) -> None:
    first = 1 + amount(STRIDE // 6, 0) * (2 * ERRORS.index(error) + (times > 1))
    for number in range(first, 100_000, amount(STRIDE, 1)):
        folder = tmp_path / f"run-{number}"
        failing = Failing(number, times, error)
        watching = partial(watched, (folder, tmp_path / "text.txt"), failing)
        ended = run(command.on(folder), watching)
        if "FAILED" not in ended.stderr:
            assert ended.code == 0
            assert number > 200
            return
        check(ended, folder, reference)
        assert run(command.on(folder)).code == 0
        assert_complete(folder, reference, ended)
        shutil.rmtree(folder)
        counts["I/O calls failed"] += 1


def check(ended: Ended, folder: Path, reference: Reference) -> None:
    """Check a run in which something failed.

    It said so by its exit code, and believes in no file that is wrong.
    """
    assert ended.code in EXIT_CODES, ended.stderr
    assert "Traceback" not in ended.stderr
    if ended.code:
        assert "charrnn: " in ended.stderr
    else:
        assert_complete(folder, reference, ended)
    if SAVING.search(ended.stderr):
        assert "Cannot save" in ended.stderr
        assert ended.code == 5 or "Training continues." in ended.stderr
    for path in folder.glob("*.safetensors"):
        assert digest(path) in reference.written or not verifies(path), (
            f"{path.name}\n{ended.stderr}"
        )


def assert_complete(folder: Path, reference: Reference, ended: Ended) -> None:
    """Check that the run left what it should; a line of the log may be missing if that was told."""
    found, expected = results(folder), dict(reference.results)
    if "metrics.jsonl" in ended.stderr:
        lines = [line for line in expected["metrics"] if line in found["metrics"]]
        expected["metrics"] = lines
    assert found == expected, ended.stderr


def verifies(path: Path) -> bool:
    try:
        load(path)
    except CharRNNError:
        return False
    return True


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
