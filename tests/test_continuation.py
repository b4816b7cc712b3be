"""Going on: longer, with other reports, by the folder alone; and a model from the first minute."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Terminal
from small_runs import OPTIONS, SETTINGS, TEXT, arguments, results, run, weights
from test_run import interrupted

from charrnn.api import load, train
from charrnn.config.training import TrainConfig
from charrnn.errors import ModelFileError, UsageError
from charrnn.storage.container import load as load_file
from charrnn.storage.run_folder import RunFolder
from charrnn.training.changes import REPORTING, merged, next_folder
from charrnn.training.events import Evaluated, Finished, Trained
from charrnn.training.schedule import Stage, learning_rate

STEPS, LR = SETTINGS["steps"], 0.02
WITHOUT_STEPS = arguments(**{name: one for name, one in SETTINGS.items() if name != "steps"})


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "animals.txt"
    path.write_text(TEXT)
    return path


def test_a_finished_run_is_extended_with_a_new_rise_and_fall(tmp_path: Path) -> None:
    run(tmp_path)
    before = weights(tmp_path)
    events = run(tmp_path, steps=STEPS + 20)
    taken = [event for event in events if isinstance(event, Trained)]
    assert [event.step for event in taken] == list(range(STEPS + 1, STEPS + 21))
    assert max(event.lr for event in taken) == pytest.approx(LR)
    assert taken[-1].lr < 0.1 * LR
    assert not np.array_equal(weights(tmp_path)["model.head_weight"], before["model.head_weight"])
    log = [line["step"] for line in results(tmp_path)["metrics"]]
    assert log == sorted(log)


def test_a_stopped_run_is_extended_from_the_learning_rate_that_it_had(tmp_path: Path) -> None:
    interrupted(tmp_path, 3)
    logged = learning_rate(2, TrainConfig(steps=STEPS))
    taken = [event for event in run(tmp_path, steps=40) if isinstance(event, Trained)]
    assert logged <= taken[0].lr <= LR
    assert max(event.lr for event in taken) == pytest.approx(LR)


def test_an_extended_run_that_is_stopped_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        run(folder, dropout=0.2)
    interrupted(parts, 20, steps=30, dropout=0.2)
    for folder in (whole, parts):
        run(folder, steps=30, dropout=0.2)
    assert results(whole) == results(parts)


def test_a_peak_may_be_given_for_an_extension_and_for_nothing_else(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="started with other options: `lr`"):
        run(tmp_path, lr=0.001)
    taken = [one for one in run(tmp_path, steps=40, lr=0.001) if isinstance(one, Trained)]
    assert max(event.lr for event in taken) == pytest.approx(0.001)


@pytest.mark.parametrize("steps", [5, STEPS - 1])
def test_a_run_is_not_made_shorter_than_it_is(steps: int, tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match=rf"already taken 14 steps: `steps` {steps} would not"):
        run(tmp_path, steps=steps)


def test_patience_may_be_extended(tmp_path: Path) -> None:
    short = {"patience": 1, "lr": 0.5, "steps": 200, "eval_every": 2}
    (*_, first) = run(tmp_path, **short)
    (*_, second) = run(tmp_path, **short | {"patience": 4})
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert first.summary["step"] < second.summary["step"]


@pytest.mark.parametrize("name", sorted(REPORTING - {"backend"}))
def test_what_changes_no_step_never_blocks(name: str, tmp_path: Path) -> None:
    interrupted(tmp_path, 3)
    run(tmp_path, **{name: True if name == "page" else 1})
    expected, folder = tmp_path / "expected", tmp_path
    run(expected)
    one, other = weights(folder), weights(expected)
    assert all((one[key] == other[key]).all() for key in one)


def test_a_length_replaces_another_and_the_rest_stays() -> None:
    then = {"seconds": 40.0, "hidden_size": 64, "log_every": 5}
    assert merged(then, {"epochs": 3.0, "hidden_size": 64}) == {
        "epochs": 3.0,
        "hidden_size": 64,
        "log_every": 5,
    }
    assert merged(then, {"hidden_size": 64}) == then


def test_a_stage_begins_and_ends_where_it_should() -> None:
    config = TrainConfig(steps=200, lr=0.01, warmup=0.1, lr_floor=0.1)
    stage = Stage(100, 0.001, 0.004)
    rates = [learning_rate(step, config, stage) for step in range(100, 200)]
    assert rates[0] == pytest.approx(0.001 + 0.003 / 10)
    assert max(rates) == rates[9] == pytest.approx(0.004)
    assert rates[-1] == pytest.approx(0.0004 + 0.0036 / 90)


@pytest.mark.parametrize("wrong", [{"begin": -1}, {"begin": 1.5}, {"peak": float("inf")}])
def test_a_stage_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    facts = {"stage": {"begin": 3, "start": 0.1, "peak": 0.2} | wrong}
    with pytest.raises(ValueError, match="not a stage"):
        Stage.restored(facts, TrainConfig())


def test_folders_are_counted_on(tmp_path: Path) -> None:
    (tmp_path / "novel").mkdir()
    assert next_folder(tmp_path / "novel").name == "novel-2"
    (tmp_path / "novel-2").mkdir()
    assert next_folder(tmp_path / "novel").name == "novel-3"
    assert next_folder(tmp_path / "novel-2").name == "novel-3"


def test_a_longer_time_is_that_of_the_whole_run(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "--out", out, *WITHOUT_STEPS, "--steps", 20)
    record = RunFolder(out).record
    record.update({"saved": {"step": 20, "seconds": 500.0}})
    refused = charrnn("train", "--resume", out, "--time", "8m")
    assert refused.code == 2
    assert "already taken 500 seconds: --time 480 would not" in refused.err
    longer = charrnn.ok("train", "--resume", out, "--time", "507s", "--json")
    assert json.loads(longer.out)["step"] > 20
    assert "Extending the run" in longer.err


def test_the_folder_alone_continues_a_run(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    charrnn.ok("train", text, "--out", whole, *OPTIONS, "--dropout", 0.2)
    events = train(text, out=out, **SETTINGS, dropout=0.2, should_stop=lambda: int(signal.SIGINT))
    with pytest.raises(Exception, match="Stopped and saved at step 1"):
        list(events)
    outcome = charrnn.ok("train", "--resume", out)
    assert "Continuing the run" in outcome.err
    assert results(out) == results(whole)


def test_the_folder_knows_its_validation_text_and_encoding(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    valid, out = tmp_path / "valid.txt", tmp_path / "run"
    text.write_text("öä " + TEXT, encoding="latin-1")
    valid.write_text(TEXT[:200])
    charrnn.ok("train", text, "--valid", valid, "--encoding", "latin-1", "-o", out, *OPTIONS)
    longer = charrnn.ok("train", "--resume", out, "--steps", 20, "--json")
    assert json.loads(longer.out)["step"] == 20


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--resume", "{out}", "--fresh"], 2, "--fresh cannot be used with --resume"),
        (["--resume", "{out}", "--out", "x"], 2, "--out cannot be used with --resume"),
        (["--resume", "{out}", "--lr", "1"], 2, "--lr was not given and is now 1"),
        (["--resume", "nowhere"], 4, "nowhere holds no run that could be continued"),
        ([], 2, "A text is needed to train on"),
    ],
)
def test_what_cannot_be_continued_says_why(
    arguments: list[str], code: int, said: str, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "--out", out, *OPTIONS)
    refused = charrnn("train", *(word.format(out=out) for word in arguments))
    assert (refused.code, said in refused.err) == (code, True), refused.err


def test_without_its_record_a_run_needs_its_text_again(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "--out", out, *OPTIONS)
    for damaged in (b"", b"[]", b'{"sources": {"texts": 3}}', b"\xff"):
        (out / "run.json").write_bytes(damaged)
        refused = charrnn("train", "--resume", out)
        assert (refused.code, "not recorded which text" in refused.err) == (3, True)
    charrnn.ok("train", text, "--resume", out, "--steps", 16)


def test_an_edited_text_names_the_way_on_and_it_works(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "--out", out, *OPTIONS)
    text.write_text(TEXT + "and more.\n")
    refused = charrnn("train", text, "--out", out, *OPTIONS)
    way = f"--init-from {out} --out {out}-2"
    assert (refused.code, way in refused.err) == (3, True)
    charrnn.ok("train", text, *way.split(), "--steps", 3)


def test_seconds_are_known_without_a_line_in_the_log(tmp_path: Path) -> None:
    interrupted(tmp_path, 4, log_every=1000)
    folder = RunFolder(tmp_path)
    assert folder.metrics.read() == []
    folder.record.update({"saved": {"step": 4, "seconds": 77.0}})
    (*_, last) = run(tmp_path, log_every=1000)
    assert isinstance(last, Finished)
    assert last.summary["seconds"] > 77


def test_a_run_stopped_before_its_first_validation_has_a_model(
    tmp_path: Path, charrnn: Terminal
) -> None:
    interrupted(tmp_path, 3)
    assert not (tmp_path / "model.safetensors").exists()
    model = load(tmp_path)
    saved, _ = load_file(tmp_path / "last.safetensors")
    assert model.about["step"] == 3
    assert (model.saved.weights["head_bias"] == saved["model.head_bias"]).all()
    written = charrnn.ok("sample", tmp_path, "--length", 20, "--seed", 1)
    assert "weights at step 3, which are not validated" in written.err
    assert "not validated" in charrnn.ok("eval", tmp_path, "-h").err or len(written.out) > 10


def test_a_folder_without_anything_has_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="has not saved a model"):
        load(tmp_path)


def test_no_steps_write_and_validate_the_untrained_model(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    charrnn.ok("train", text, "-o", out, *WITHOUT_STEPS, "--steps", 0)
    model = load(out)
    score = model.about["valid"]["nats_per_token"]
    assert score == pytest.approx(2.77, rel=0.2)  # log of 16 symbols
    assert model.about["step"] == 0
    trained = charrnn.ok("train", text, "-o", out, *OPTIONS)  # nothing was learned that is lost
    assert "untrained model" in trained.err
    assert load(out).about["valid"]["nats_per_token"] < score


def test_info_tells_how_far_a_run_is_and_how_to_continue(
    text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Exception, match="Stopped and saved at step 1"):
        list(train(text, out=out, **SETTINGS, should_stop=lambda: int(signal.SIGINT)))
    shown = charrnn.ok("info", out).out
    for words in ("stopped at step 1 of 14", f"charrnn train --resume {out}", str(text)):
        assert words in shown
    charrnn.ok("train", "--resume", out)
    run_facts = json.loads(charrnn.ok("info", out, "--json").out)["run"]
    assert (run_facts["state"], run_facts["step"]) == ("finished", 14)
    assert [one["step"] for one in run_facts["sessions"]] == [0, 1]
    assert "finished at step 14 of 14" in charrnn.ok("info", out).out
    machine = load(out).about["machine"]
    assert (machine["device"], machine["precision"], machine["threads"]) == ("cpu", "fp32", 1)
    with RunFolder(out).lock():
        assert "training now" in charrnn.ok("info", out).out


def test_the_scores_of_an_extended_run_are_logged_at_their_steps(tmp_path: Path) -> None:
    run(tmp_path)
    scored = [one.step for one in run(tmp_path, steps=54) if isinstance(one, Evaluated)]
    assert scored[-1] == 54
    assert 5 <= len(scored) <= 10
