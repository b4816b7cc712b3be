"""Threads beside other programs: how many cores are idle, and whether fewer threads are faster."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from charrnn.runtime import threads
from charrnn.runtime.threads import LOOKS, idle_cores, use_idle_cores


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads, "BETWEEN_LOOKS", 0)


@pytest.fixture
def usual_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def load(path: Path, running: object) -> Path:
    path.write_text(f"9.03 9.00 9.00 {running}/345 6789\n")
    return path


@pytest.mark.parametrize(("running", "idle"), [(0, 4), (1, 4), (2, 3), (3, 2), (5, 1), (99, 1)])
def test_cores_that_others_use_now_are_not_idle(
    running: int, idle: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the load of the last minute was, which this program may have caused itself."""
    monkeypatch.setattr(threads, "LOAD", load(tmp_path / "loadavg", running))
    assert idle_cores() == idle


def test_what_runs_for_a_moment_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([9] * (LOOKS // 2) + [2] * LOOKS)
    monkeypatch.setattr(threads, "running_tasks", lambda: next(seen))
    assert idle_cores() == 3


def test_others_use_the_cores_that_this_program_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LOAD", load(tmp_path / "loadavg", 5))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert idle_cores() == 4


@pytest.mark.parametrize("content", [None, "", "0.5 0.5 0.5", "0.5 0.5 0.5 x/345 6"])
@pytest.mark.parametrize(
    ("average", "idle"), [(0.0, 4), (0.4, 4), (0.6, 3), (2.2, 2), (99.0, 1), (None, 4)]
)
def test_elsewhere_the_last_minute_counts(
    content: str | None,
    average: float | None,
    idle: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "LOAD", tmp_path / "loadavg")
    if content is not None:
        threads.LOAD.write_text(content)
    if average is None:
        monkeypatch.delattr(os, "getloadavg", raising=False)
    else:
        monkeypatch.setattr(os, "getloadavg", lambda: (average, 0.0, 0.0), raising=False)
    assert idle_cores() == idle


@pytest.mark.usefixtures("usual_threads")
@pytest.mark.parametrize(
    ("idle", "seconds", "chosen"),
    [
        (4, {}, 3),  # nothing is tried
        (3, {}, 3),
        (1, {3: 2.0, 1: 1.5}, 1),
        (2, {3: 2.0, 2: 2.5}, 3),
    ],
)
def test_fewer_threads_are_used_if_they_are_faster(
    idle: int, seconds: dict[int, float], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)

    def work() -> None:
        clock.now += seconds[torch.get_num_threads()]

    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(threads, "idle_cores", lambda: idle)
    use_idle_cores(work)
    assert torch.get_num_threads() == chosen
