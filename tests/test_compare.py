"""`charrnn compare`: each row is what `charrnn eval` says of the model, whatever the order."""

import json
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
    assert [row["model"] for row in found["models"]] == [str(model), str(other)]
    for path, row in zip((model, other), found["models"], strict=True):
        score = json.loads(charrnn.ok("eval", path, *options, "--json").out)
        for name in (
            "bits_per_char",
            "bits_per_byte",
            "perplexity",
            "nats",
            "unknown",
            "signature",
        ):
            assert (
                row[name] == pytest.approx(score[name])
                if name != "signature"
                else row[name] == score[name]
            )
        assert row["parameters"] == json.loads(charrnn.ok("info", path, "--json").out)["parameters"]
        assert row["tokens_per_char"] == 1
        assert row["chars_per_second"] > 0
        assert found["baselines"] == score["baselines"]
    table = charrnn.ok("compare", model, other, *options).out.splitlines()
    assert len(table) == 1 + 2 + 6
    assert table[0].split() == [
        "parameters",
        "tokens/char",
        "perplexity/token",
        "bits/char",
        "bits/byte",
        "chars/s",
    ]
    assert table[1].split()[:3] == [str(model), f"{found['models'][0]['parameters']:,}", "1.000"]
    assert table[-1].split()[-2:] == [
        f"{found['baselines'][-1][name]:.4f}" for name in ("bits_per_char", "bits_per_byte")
    ]


def test_one_model_twice_and_a_model_file_are_models_too(
    model: Path, text: Path, charrnn: Terminal
) -> None:
    found = json.loads(
        charrnn.ok("compare", model, model / "model.safetensors", model, text, "--json").out
    )["models"]
    assert len(found) == 3
    assert len({row["nats"] for row in found}) == 1


def test_a_text_in_several_files_is_one_folder(
    model: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT[:100])
    (folder / "b.txt").write_text(TEXT[100:200])
    found = json.loads(charrnn.ok("compare", model, folder, "--no-baselines", "--json").out)
    assert found["models"][0]["characters"] == 200
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
    first, second, *rows = charrnn.ok(*command).out.splitlines()
    assert first.split() == ["tokens", "perplexity", "bits", "bits", "chars"]
    assert second.split() == ["parameters", "/char", "/token", "/char", "/byte", "/s"]
    assert max(map(len, (first, second, *rows))) < len(wide[0])
    speedless = [[row.split()[:-1] for row in table] for table in (rows, wide[1:])]
    assert speedless[0] == speedless[1], "each row is on one line, and all of it"
