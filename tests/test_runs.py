"""`charrnn runs`."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_runs
from command_line import Terminal

from charrnn.cli.runs import row
from charrnn.errors import InterruptedRun
from charrnn.storage.lock import holder_of
from charrnn.storage.model_file import load_model, save_model
from charrnn.storage.run_folder import RunFolder
from charrnn.storage.runs import SORT_KEYS, find_runs


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A folder with a run in each state but training, and things that are no runs."""
    runs = tmp_path / "checkpoints"
    shutil.copytree(model, runs / "whole")
    steps = iter(range(100))
    with pytest.raises(InterruptedRun):
        small_runs.run(runs / "half", should_stop=lambda: 2 if next(steps) == 8 else None)
    (runs / "alone").mkdir()
    shutil.copy(model / "model.safetensors", runs / "alone")
    shutil.copytree(model, runs / "odd")
    (runs / "odd" / "last.safetensors").write_bytes(b"\0" * 1000)
    (runs / "empty").mkdir()
    (runs / "README.md").write_text("no run")
    return runs


def found(folder: Path, charrnn: Terminal, *more: str) -> dict[str, dict[str, Any]]:
    listed = json.loads(charrnn.ok("runs", folder, "--json", *more).out)
    return {one["name"]: one for one in listed["runs"]}


def test_tells_what_each_run_is(folder: Path, charrnn: Terminal) -> None:
    runs = found(folder, charrnn)
    assert {name: one["state"] for name, one in runs.items()} == {
        "alone": "model",
        "half": "stopped",
        "odd": "damaged",
        "whole": "complete",
    }
    facts = json.loads(charrnn.ok("info", folder / "whole", "--json").out)
    whole = runs["whole"]
    assert whole["valid"]["bits_per_char"] == facts["valid"]["bits_per_char"]
    assert (whole["best_step"], whole["step"], whole["steps"]) == (facts["step"], 14, 14)
    assert whole["shape"] == "lstm 1 x 8"
    assert whole["text"] == {"name": "animals"}
    assert whole["seconds"] > 0
    assert runs["half"]["step"] < runs["half"]["steps"] == 14


def test_a_run_in_progress_is_training(folder: Path, charrnn: Terminal) -> None:
    run = RunFolder(folder / "half")
    assert not holder_of(run.path)
    with run.lock():
        assert holder_of(run.path)
        assert found(folder, charrnn)["half"]["state"] == "training"
    assert not holder_of(run.path)


def test_the_table_has_a_line_for_each(folder: Path, charrnn: Terminal) -> None:
    lines = charrnn.ok("runs", folder).out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "alone", "half", "odd", "whole"]
    assert "14" in lines[-1]
    assert lines[-1].endswith("complete")


def test_a_damaged_file_is_said_and_never_raised(model: Path, tmp_path: Path) -> None:
    rng, states = random.Random(1), set()
    names = ("model.safetensors", "last.safetensors", "metrics.jsonl")
    for _ in range(80):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").mkdir()
        for name in names:
            data = bytearray((model / name).read_bytes())
            for _ in range(rng.choice([0, 1, 5])):
                data[rng.randrange(min(len(data), 3000))] = rng.choice(b'0129"{}[],:tnae\xff\0')
            (tmp_path / "run" / name).write_bytes(data)
        (run,) = find_runs(tmp_path, rng.choice(SORT_KEYS))
        row(run)
        json.dumps(run.to_dict(), allow_nan=False)
        states.add(run.state)
    assert {"damaged", "complete"} <= states


@pytest.mark.parametrize(
    ("entry", "value"), [("text", {"name": [1]}), ("valid", {"bits_per_char": "x"}), ("step", -1)]
)
def test_facts_that_no_run_would_write_are_damage(
    entry: str, value: Any, model: Path, tmp_path: Path
) -> None:
    saved = load_model(model)
    (tmp_path / "run").mkdir()
    odd = replace(saved, about=saved.about | {entry: value})
    save_model(tmp_path / "run" / "model.safetensors", odd)
    assert find_runs(tmp_path)[0].state == "damaged"


@pytest.mark.parametrize("key", SORT_KEYS)
def test_sorted(key: str, folder: Path) -> None:
    runs = find_runs(folder, key)
    assert len(runs) == 4
    if key in ("score", "steps", "seconds"):
        name = {"score": "bits_per_char", "steps": "step", "seconds": "seconds"}[key]
        values = [getattr(run, name) for run in runs]
        known = [value for value in values if value is not None]
        assert values[: len(known)] == known == sorted(known, reverse=key != "score")
    else:
        assert [getattr(run, key) for run in runs] == sorted(getattr(run, key) for run in runs)


def test_other_folders(tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = charrnn("runs")
    assert missing.code == 5
    assert "no folder checkpoints" in missing.err
    (tmp_path / "checkpoints").mkdir()
    assert "There are no runs" in charrnn.ok("runs").err
    assert json.loads(charrnn.ok("runs", "--json").out) == {"runs": []}
    assert charrnn("runs", "--sort", "sise").code == 2
