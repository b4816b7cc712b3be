"""`charrnn plot`: runs in one picture."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import Terminal

from charrnn.export.run_curves import AXES, QUANTITIES, RunCurve, draw_picture, read_curves
from charrnn.storage.container import load
from charrnn.terminal.curves import HEIGHT, WIDTH, height_at, plot_curves


@pytest.fixture
def other(model: Path, tmp_path: Path) -> Path:
    """A copy of the run under another name, with a log that went worse."""
    folder = tmp_path / "worse"
    shutil.copytree(model, folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    worse = [line | {"valid": line["valid"] + 1} if "valid" in line else line for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in worse))
    return folder


def test_the_curves_are_those_of_the_log(model: Path) -> None:
    lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    loss, valid = read_curves([model], "loss", "steps")
    assert loss.points == [(line["step"], line["loss"]) for line in lines if "loss" in line]
    assert valid.points == [(line["step"], line["valid"]) for line in lines if "valid" in line]
    (seconds,) = read_curves([model], "lr", "seconds")
    assert seconds.points == [(line["seconds"], line["lr"]) for line in lines if "lr" in line]


def test_by_epochs(model: Path, tmp_path: Path) -> None:
    epochs = load(model / "last.safetensors")[1]["epochs"]
    (curve,) = read_curves([model], "bits", "epochs")
    assert curve.points[-1][0] == pytest.approx(epochs)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("model.safetensors", "metrics.jsonl"):
        shutil.copy(model / name, alone)
    (from_model,) = read_curves([alone], "bits", "epochs")
    assert from_model.points[-1][0] == pytest.approx(epochs, abs=1e-3)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_by_every_axis_as_characters(
    quantity: str, axis: str, model: Path, other: Path, charrnn: Terminal
) -> None:
    lines = charrnn.ok("plot", model, other, "--show", quantity, "--by", axis).out.splitlines()
    assert AXES[axis] in lines[HEIGHT + 2]
    assert [line for line in lines if line.strip().startswith("*")]
    assert lines[-1].split()[1].rstrip(",") == "worse"
    assert max(map(len, lines)) <= 100


def test_the_characters_are_where_the_points_are() -> None:
    curve = RunCurve("run", "lr", [(0.0, 0.0), (10.0, 1.0)])
    lines = plot_curves([curve], "lr", "steps")
    rows = [line[10:] for line in lines[1 : 1 + HEIGHT]]
    assert rows[0].index("*") > WIDTH * 0.9
    assert rows[-1].startswith("*")
    assert rows[-1].rindex("*") < WIDTH * 0.1
    assert sum(row.count("*") for row in rows) == WIDTH


def test_a_height_is_between_its_neighbours_and_none_outside() -> None:
    points = [(1.0, 4.0), (3.0, 8.0)]
    assert [height_at(points, x) for x in (0.5, 1, 2, 3, 3.5)] == [None, 4, 6, 8, None]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_picture_of_two_runs(
    ending: str, model: Path, other: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    path = tmp_path / f"curves.{ending}"
    outcome = charrnn.ok("plot", model, other, "-o", path)
    assert not outcome.out
    assert str(path) in outcome.err
    data = path.read_bytes()
    assert data.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[ending])
    curves = read_curves([model, other], "loss", "steps")
    assert draw_picture(curves, "loss", "steps", path) == data
    if ending == "svg":
        for words in (b"animals, training", b"worse, validation", b"optimizer steps"):
            assert words in data


def test_refusals(
    model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "curves.svg"
    assert charrnn("plot", model, "-o", tmp_path / "curves.jpg").code == 2
    assert charrnn("plot", tmp_path).code == 4
    assert charrnn("plot", model, "--by", "days").code == 2
    assert charrnn("plot").code == 2
    picture.write_text("mine")
    assert charrnn("plot", model, "-o", picture).code == 5
    assert picture.read_text() == "mine"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = charrnn("plot", model, "-o", tmp_path / "new.svg")
    assert outcome.code == 5
    assert "pip install 'charrnn[plot]'" in outcome.err


def test_a_log_without_evaluations_is_named(model: Path, tmp_path: Path, charrnn: Terminal) -> None:
    shutil.copytree(model, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    outcome = charrnn("plot", tmp_path / "run", "--show", "bits")
    assert outcome.code == 4
    assert "has no bits yet" in outcome.err
    assert "2" in charrnn.ok("plot", tmp_path / "run").out
