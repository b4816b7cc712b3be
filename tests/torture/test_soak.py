"""A long run: memory, open files and temporary files stay as they are."""

import gc
import os
import sys
from pathlib import Path

import pytest
from counting import Amount
from small_runs import run_in

from charrnn.training.events import Trained


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_run_stays_as_small_as_it_was(tmp_path: Path, warm: None, amount: Amount) -> None:
    steps = amount(300, 20_000)
    seen = []
    with run_in(
        tmp_path / "run", steps=steps, eval_every=steps // 20, save_every=steps // 50
    ) as long:
        for event in long.train():
            if isinstance(event, Trained) and event.step % (steps // 20) == 0:
                gc.collect()
                seen.append((memory(), open_files(), len(list((tmp_path / "run").iterdir()))))
    memories, descriptors, files = zip(*seen[3:], strict=True)
    assert max(descriptors) <= descriptors[0]
    assert max(files) == 7
    assert max(memories) - memories[0] < 4_000_000


def memory() -> int:
    """Return the bytes that are resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (iterdir would open one more)
