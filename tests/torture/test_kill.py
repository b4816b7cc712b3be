"""SIGKILL: at random moments, and before and within each call that changes a file."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calls import killing_at, watched
from counting import Amount
from processes import Command, Ended, run
from small_runs import RUN_FILES, arguments, results

from charrnn.config.cells import CELLS
from charrnn.config.training import BATCHERS

VARIANTS = [(cell, batcher) for cell in CELLS for batcher in BATCHERS]
QUICK = {("lstm", "sequential"), ("rnn", "random"), ("mingru", "sequential")}
MARKED = [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in VARIANTS]
Reference = tuple[Command, dict[str, Any], float]


@pytest.fixture(params=MARKED, ids=map(" ".join, VARIANTS))
def variant(request: pytest.FixtureRequest, command: Command, tmp_path: Path) -> Reference:
    """Return a run's command, its uninterrupted results, and how many seconds it takes."""
    cell, batcher = request.param
    whole = Command([*command.words, *arguments(cell=cell, batcher=batcher, dropout=0.2)])
    ended = run(whole.on(tmp_path / "whole"))
    assert ended.code == 0, ended.stderr
    return whole, results(tmp_path / "whole"), ended.seconds


def continued(start: Callable[[int], Ended], most: int = 10_000) -> int:
    """Run a command again and again until it is not killed; return how often it was."""
    for kills in range(most):
        ended = start(kills)
        if not ended.killed:
            assert ended.code == 0, ended.stderr
            return kills
    raise AssertionError(f"The run made no progress in {most} attempts.")


def test_killed_at_random_moments(
    variant: Reference, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    command, expected, seconds = variant
    moments, survived, number = random.Random(7), 0, 0
    while survived < amount(2, 50):
        folder = tmp_path / f"run-{number}"
        words = command.on(folder)
        kills = continued(
            lambda _, words=words: run(words, kill_after=moments.uniform(0, 1.1 * seconds))
        )
        check(folder, expected)
        survived, number = survived + kills, number + 1
        counts["kills survived"] += kills


def test_killed_at_later_and_later_calls_of_one_run(
    variant: Reference, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    """Each attempt begins with what the one before it left, and gets one change further."""
    command, expected, _ = variant
    folder = tmp_path / "run"
    stride = amount(29, 1)
    kills = continued(lambda number: killed_at(1 + stride * number, command.on(folder), folder))
    assert kills >= amount(2, 30)
    check(folder, expected)
    counts["kills survived"] += kills


def test_killed_at_each_call_of_a_new_run(
    command: Command, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    assert run(command.on(tmp_path / "whole")).code == 0
    expected = results(tmp_path / "whole")
    for number in range(1, 10_000, amount(37, 1)):
        folder = tmp_path / f"run-{number}"
        if not killed_at(number, command.on(folder), folder).killed:
            assert number > 100
            break
        assert run(command.on(folder)).code == 0
        check(folder, expected)
        shutil.rmtree(folder)
        counts["kills survived"] += 1


def test_killed_at_each_call_while_beginning_again(
    command: Command, tmp_path: Path, counts: Counter[str], amount: Amount
) -> None:
    """The run that was there before is lost at no moment, be it in its place or aside."""
    assert run(command.on(tmp_path / "whole")).code == 0
    expected = results(tmp_path / "whole")
    for number in range(1, amount(12, 25), amount(3, 1)):
        folder, aside = tmp_path / f"run-{number}", tmp_path / f"run-{number}.old-1"
        shutil.copytree(tmp_path / "whole", folder)
        assert killed_at(number, command.on(folder, "--fresh"), folder, aside).killed
        assert results(aside if aside.exists() else folder) == expected
        assert run(command.on(folder)).code == 0
        check(folder, expected)
        counts["kills survived"] += 1


def killed_at(number: int, words: list[str], *folders: Path) -> Ended:
    """Run a command and kill it at its `number`-th change under `folders`."""
    return run(words, lambda: watched(folders, killing_at(number)))


def check(folder: Path, expected: dict[str, Any]) -> None:
    """Check that a run left what it should, and nothing besides."""
    assert results(folder) == expected
    assert {entry.name for entry in folder.iterdir()} == RUN_FILES
