import json
from itertools import cycle
from pathlib import Path

import pytest
from command_line import Terminal
from small_runs import OPTIONS, TEXT

from charrnn.config.cells import CELLS
from charrnn.config.training import BATCHERS


@pytest.mark.parametrize(("cell", "batcher"), list(zip(CELLS, cycle(BATCHERS), strict=False)))
def test_from_a_text_to_a_model_a_sample_and_a_score(
    cell: str, batcher: str, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    run = tmp_path / "run"
    options = [
        *OPTIONS,
        "--cell",
        cell,
        "--batcher",
        batcher,
        "--hidden-size",
        16,
        "--steps",
        60,
        "--lr",
        0.03,
    ]
    trained = charrnn.ok("train", text, "--out", run, *options, "--json")
    summary = json.loads(trained.out)
    assert summary["out"] == str(run)
    assert summary["step"] == 60
    assert f"Next: charrnn sample {run}" in trained.err

    sampled = charrnn.ok("sample", run, "the ", "--length", 50, "--seed", 3)
    assert sampled.out.startswith("the ")
    assert len(sampled.out) == 4 + 50 + 1
    assert set(sampled.out) <= set(TEXT)
    assert sampled.err == ""

    score = json.loads(charrnn.ok("eval", run, text, "--valid-fraction", 0.1, "--json").out)
    score = score["score"]
    assert score["characters"] == 56
    # what training measured on the part that it held out, measured again from the file
    assert score["nats_per_token"] == pytest.approx(summary["valid_nats_per_token"], rel=1e-5)
    assert score["bits_per_char"] == pytest.approx(summary["valid_bits_per_char"], rel=1e-5)
    assert score["bits_per_char"] < 3, "a uniform choice takes 4"

    facts = json.loads(charrnn.ok("info", run, "--json").out)
    assert (facts["config"]["cell"], facts["train"]["batcher"]) == (cell, batcher)
    assert facts["model"]["parameters"] == summary["parameters"]
    assert facts["step"] == summary["best_step"]
    assert f"{cell} 1 x 16" in charrnn.ok("info", run).out
