"""`charrnn compare`: each row is what `charrnn eval` says of the model, whatever the order."""

import json
import statistics
from pathlib import Path

import pytest
from command_line import Terminal
from small_runs import OPTIONS, TEXT

from charrnn.terminal import tables


@pytest.fixture(scope="module")
def other(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second model, of another shape."""
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("other") / "run"
    assert run(["train", str(text), "--out", str(path), "--quiet", *OPTIONS, "--cell", "gru"]) == 0
    return path


def test_models_stand_side_by_side_with_the_baselines(
    model: Path, other: Path, text: Path, charrnn: Terminal
) -> None:
    options = (text, "--valid-fraction", 0.1)
    found = json.loads(charrnn.ok("compare", model, other, *options, "--json").out)
    assert [row["name"] for row in found["models"]] == [str(model), str(other)]
    for path, row in zip((model, other), found["models"], strict=True):
        (run,) = row["runs"]
        told = json.loads(charrnn.ok("eval", path, *options, "--json").out)
        assert run["score"] == pytest.approx(told["score"])
        assert row["score"] == pytest.approx(told["score"])
        for name in ("model", "signature", "protocol", "training", "interval", "no_interval"):
            assert run[name] == told[name]
        facts = json.loads(charrnn.ok("info", path, "--json").out)
        assert run["model"]["parameters"] == facts["model"]["parameters"]
        assert run["model"]["sha256"] == facts["model"]["sha256"]
        assert row["tokens_per_char"] == 1
        assert row["chars_per_second"] > 0
        assert found["baselines"] == told["baselines"]
        assert found["text"] == told["text"]
    outcome = charrnn.ok("compare", model, other, *options)
    table = outcome.out.splitlines()
    assert table[0].split() == [
        "parameters",
        "tokens/char",
        "perplexity/token",
        "bits/char",
        "bits/byte",
        "chars/s",
    ]
    first = found["models"][0]["runs"][0]["model"]
    assert table[1].split()[:3] == [str(model), f"{first['parameters']:,}", "1.000"]
    last = found["baselines"][-1]["score"]
    bits = [f"{last[name]:.4f}" for name in ("bits_per_char", "bits_per_byte")]
    assert table[8].split()[-2:] == bits
    words = " ".join(" ".join(table[10:]).split())
    assert words.startswith("Lower is better.")
    assert "predicts this text best." in words
    assert "too short to tell whether that is noise" in words


def test_one_model_twice_and_a_model_file_are_models_too(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    found = json.loads(
        charrnn.ok("compare", model, model / "model.safetensors", model, text, "--json").out
    )["models"]
    assert len(found) == 3
    assert len({row["score"]["nats"] for row in found}) == 1


def test_a_text_in_several_files_is_one_folder(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT[:100])
    (folder / "b.txt").write_text(TEXT[100:200])
    found = json.loads(charrnn.ok("compare", model, folder, "--no-baselines", "--json").out)
    assert found["models"][0]["score"]["characters"] == 200
    assert found["baselines"] == []


def test_every_model_is_checked_before_any_is_scored(
    model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    whole = (model / "model.safetensors").read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    outcome = charrnn("compare", model, damaged, text)
    assert (outcome.code, outcome.out) == (4, "")
    assert "damaged.safetensors is damaged" in outcome.err


def test_on_a_narrow_terminal_the_names_of_the_columns_take_two_lines(
    model: Path, text: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    command = ("compare", model.name, text)
    wide = charrnn.ok(*command).out.splitlines()
    monkeypatch.setattr(tables, "_width", lambda: len(wide[0]) - 1)
    first, second, *rows = charrnn.ok(*command).out.splitlines()[:-2]
    assert first.split() == ["tokens", "perplexity", "bits", "bits", "chars"]
    assert second.split() == ["parameters", "/char", "/token", "/char", "/byte", "/s"]
    assert max(map(len, (first, second, *rows))) < len(wide[0])
    speedless = [[row.split()[:-1] for row in table] for table in (rows, wide[1:-2])]
    assert speedless[0] == speedless[1], "each row is on one line, and all of it"


@pytest.fixture(scope="module")
def verse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text with blank lines, which does not end with a newline."""
    path = tmp_path_factory.mktemp("texts") / "verse.txt"
    path.write_text("\n\n".join(TEXT.splitlines() * 60) + "\nthe end", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def records(verse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the text's lines."""
    from charrnn.__main__ import run

    path = tmp_path_factory.mktemp("records") / "run"
    command = ["train", str(verse), "--out", str(path), "--quiet", "--records", "lines", *OPTIONS]
    assert run(command) == 0
    return path


def test_models_of_records_and_of_plain_text_are_scored_on_the_same_characters(
    model: Path, records: Path, verse: Path, charrnn: Terminal
) -> None:
    """A model of records pays for blank lines and for the last line's end, as the text has them."""
    found = json.loads(charrnn.ok("compare", model, records, verse, "--json").out)
    length = len(verse.read_text())
    scores = [row["score"] for row in found["models"]]
    assert [score["characters"] for score in scores] == [length, length]
    assert [score["tokens"] for score in scores] == [length, length + 1]
    alone = json.loads(charrnn.ok("compare", records, verse, "--json").out)["models"][0]["score"]
    blank = verse.read_text().count("\n\n")
    assert alone["tokens"] == length + 1 - blank
    assert alone["nats"] < scores[1]["nats"], "blank lines cost something"
    note = f"Blank records are left out: {blank - 1} of {length:,} characters."
    assert note in charrnn.ok("eval", records, verse).err


def test_a_folder_of_runs_with_several_seeds_is_one_row(
    model: Path, verse: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    for seed in range(3):
        out = tmp_path / "seeds" / f"seed-{seed}"
        charrnn.ok("train", verse, "--out", out, "--quiet", *OPTIONS, "--seed", seed)
    command = ("compare", tmp_path / "seeds", model, verse, "--no-baselines")
    found = json.loads(charrnn.ok(*command, "--json").out)
    group, single = found["models"]
    bits = [run["score"]["bits_per_char"] for run in group["runs"]]
    assert len(set(bits)) == 3
    assert [run["seed"] for run in group["runs"]] == [0, 1, 2]
    assert group["score"]["bits_per_char"] == pytest.approx(statistics.mean(bits))
    assert group["deviation"] == pytest.approx(statistics.stdev(bits))
    assert (single["deviation"], len(single["runs"])) == (None, 1)
    (difference,) = found["differences"]
    assert difference["bits_per_char"] == pytest.approx(
        abs(group["score"]["bits_per_char"] - single["score"]["bits_per_char"])
    )
    assert difference["interval"] is None, "the text is short"
    out = charrnn.ok(*command).out
    assert f"{statistics.mean(bits):.4f} \u00b1 {statistics.stdev(bits):.4f}" in out
    assert "(3 seeds)" in out
    charrnn.ok(
        "train", verse, "--out", tmp_path / "seeds" / "other", "--quiet", *OPTIONS, "--lr", 0.1
    )
    outcome = charrnn(*command)
    assert outcome.code == 2
    assert "differ in more than their seeds: in lr" in outcome.err


def test_differences_are_told_from_noise_in_a_text_that_is_long_enough(
    model: Path, other: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 110)
    found = json.loads(charrnn.ok("compare", model, other, long, "--no-baselines", "--json").out)
    (difference,) = found["differences"]
    low, high = difference["interval"]
    assert low < difference["bits_per_char"] < high
    assert difference["beyond_noise"] == (low > 0)
    same = json.loads(charrnn.ok("compare", model, model, long, "--no-baselines", "--json").out)
    assert same["differences"][0]["interval"] == [0, 0]
    assert same["differences"][0]["beyond_noise"] is False
    words = " ".join(charrnn.ok("compare", model, other, long, "--no-baselines").out.split())
    assert ("which is more than noise" in words) == difference["beyond_noise"]


def test_compare_claims_nothing_about_a_text_that_was_trained_on(
    model: Path, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    outcome = charrnn.ok("compare", model, text)
    note = f"{model}: All of this text stands in the text that the model was trained on"
    assert note in outcome.err
    fresh = tmp_path / "new.txt"
    fresh.write_text("every good day ends with a hat that sat on a mat or a cat.\n" * 3)
    assert "trained on" not in charrnn.ok("compare", model, fresh).err
