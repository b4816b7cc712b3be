"""Several runs that differ in their seed."""

import json
import os
import signal
import statistics
from pathlib import Path

import pytest
from command_line import Terminal
from small_runs import OPTIONS, results

from charrnn.training.events import Trained
from charrnn.training.trainer import Trainer


def test_each_seed_is_the_run_that_it_would_be_alone(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out, alone = tmp_path / "runs", tmp_path / "alone"
    shown = charrnn.ok("train", text, "-o", out, *OPTIONS, "--seeds", 3, "--json")
    found = json.loads(shown.out)
    assert [Path(one["out"]).name for one in found["runs"]] == ["seed-0", "seed-1", "seed-2"]
    bits = [one["valid_bits_per_char"] for one in found["runs"]]
    assert len(set(bits)) == 3
    assert found["valid_bits_per_char"] == {
        "mean": pytest.approx(sum(bits) / 3),
        "std": pytest.approx(statistics.stdev(bits)),
    }
    charrnn.ok("train", text, "-o", alone, *OPTIONS, "--seed", 2)
    assert results(alone) == results(out / "seed-2")
    assert f"Next: charrnn compare {out}" in shown.err


def test_what_was_stopped_goes_on_with_the_same_command(
    text: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_once = Trainer.train_once

    def interrupted(trainer: Trainer) -> Trained:
        if trainer.config.seed == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return train_once(trainer)

    command = ["train", text, "--out", tmp_path, *OPTIONS, "--seeds", 2, "--seed", 7]
    monkeypatch.setattr("sys.argv", ["charrnn", *map(str, command)])
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_once", interrupted)
        stopped = charrnn(*command)
    assert stopped.code == 130
    assert "--seeds 2 --seed 7" in stopped.err.splitlines()[-1]
    again = charrnn.ok(*command)
    assert "already complete" in again.err
    assert "Continuing the run" in again.err


@pytest.mark.parametrize("other", [["--resume", "x"], ["--dry-run"]])
def test_what_is_of_one_run_cannot_be_used_with_seeds(
    other: list[str], text: Path, charrnn: Terminal
) -> None:
    refused = charrnn("train", text, "--seeds", 2, *other)
    assert (refused.code, "--seeds cannot be used with" in refused.err) == (2, True)


def test_there_is_at_least_one_seed(text: Path, charrnn: Terminal) -> None:
    refused = charrnn("train", text, "--seeds", 0)
    assert (refused.code, "--seeds must be at least 1" in refused.err) == (2, True)
