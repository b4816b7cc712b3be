"""Checkpoints of each format that was ever released, kept in tests/legacy/.

They are read, believed and continued.

format-1 was made by charrnn 0.1 with the options in its command.json, stopped by Ctrl-C after step
9 of 14.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import warm_up

from charrnn.__main__ import run
from charrnn.api import load
from charrnn.storage.container import FORMAT
from charrnn.storage.model_file import load_model
from charrnn.storage.run_folder import RunFolder

LEGACY = Path(__file__).parents[1] / "legacy"
SAMPLES = {1: "hto  t sre   aahtsct  d  aathcaa\n h   t "}
VALID = {1: 2.3784811347723007}  # nats per token, as the checkpoint's maker measured it


def test_each_format_is_kept() -> None:
    assert sorted(SAMPLES) == sorted(VALID) == list(range(1, FORMAT + 1))


@pytest.mark.parametrize("version", SAMPLES)
def test_an_old_model_writes_what_it_wrote(
    version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(LEGACY / f"format-{version}" / "run")
    assert (
        run(["sample", model, "the ", "--seed", "7", "--length", "40", "--temperature", "0.5"]) == 0
    )
    assert capsys.readouterr().out == f"the {SAMPLES[version]}\n"


@pytest.mark.parametrize("version", SAMPLES)
def test_an_old_model_scores_what_it_scored(version: int) -> None:
    folder = LEGACY / f"format-{version}"
    score = load(folder / "run").score((folder / "text.txt").read_text()[496:])
    assert score.nats_per_token == pytest.approx(VALID[version], abs=1e-4)


@pytest.mark.parametrize("version", SAMPLES)
def test_an_old_run_is_continued(version: int, tmp_path: Path) -> None:
    folder = tmp_path / "format"
    shutil.copytree(LEGACY / f"format-{version}", folder)
    before = RunFolder(folder / "run").load_state()
    assert before is not None
    assert before.facts["trainer"]["progress"]["step"] == 9
    options = json.loads((folder / "command.json").read_text())
    warm_up(["train", str(folder / "text.txt"), "--out", str(folder / "run"), *options])
    after = RunFolder(folder / "run").load_state()
    assert after is not None
    assert after.facts["trainer"]["progress"]["step"] == 14
    assert load_model(folder / "run").about["valid"]["nats_per_token"] <= VALID[version]
    steps = [line["step"] for line in RunFolder(folder / "run").metrics.read() if "valid" in line]
    assert steps == [4, 8, 12, 14]
    assert all(
        np.isfinite(array).all()
        for name, array in after.arrays.items()
        if name.startswith("model.")
    )
