"""Files that somebody made with care: the checksum is right, and what they say is not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutate import Parts, parts_of, resealed
from small_runs import run_in

from charrnn.__main__ import run
from charrnn.errors import ModelFileError, UsageError
from charrnn.storage.container import MAX_PARTS, from_bytes, to_bytes

KEPT = Path(__file__).parents[1] / "legacy" / "format-1" / "run"
MODEL = parts_of((KEPT / "model.safetensors").read_bytes())

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def model_about(path: Path, about: dict[str, Any]) -> Path:
    path.write_bytes(resealed(Parts(MODEL.tensors, MODEL.metadata | {"about": about}, MODEL.data)))
    return path


@pytest.mark.parametrize(
    "about",
    [
        {"text": 5},
        {"text": {"train": "many"}},
        {"valid": [1]},
        {"valid": {"nats_per_token": "x"}},
        {"step": []},
    ],
)
def test_what_a_model_says_of_itself_may_be_nonsense(
    about: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_about(tmp_path / "model.safetensors", about)
    assert run(["info", str(path)]) == 4
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert run(["sample", str(path), "--length", "3"]) == 0


def test_what_was_checked_cannot_be_said_differently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"sha256": "0", "config": 1, "parameters": 2, "tokenizer": "x"}
    path = model_about(tmp_path / "model.safetensors", said)
    assert run(["info", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["tokenizer"] == "char"
    assert all((found | found["model"])[name] != value for name, value in said.items())


def test_weights_too_large_to_use_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = np.full(len(MODEL.data) // 4, 3e38, "f4").tobytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(resealed(Parts(MODEL.tensors, MODEL.metadata, data)))
    assert run(["sample", str(path)]) == 4
    assert len(capsys.readouterr().err.splitlines()) <= 3


def test_what_could_not_be_read_is_not_written() -> None:
    from_bytes(to_bytes({}, {"many": [0] * (MAX_PARTS - 10)}), "file")
    with pytest.raises(UsageError, match=f"a file can hold {MAX_PARTS:,}"):
        to_bytes({}, {"many": [0] * MAX_PARTS})


CHANGES: dict[str, Change] = {
    "another size": lambda arrays, facts: facts["model"].update(hidden_size=16384, num_layers=64),
    "another vocabulary": lambda arrays, facts: facts["tokenizer"].update(characters="ab"),
    "a weight is missing": lambda arrays, facts: drop(arrays, "model.head_bias"),
    "an optimizer's average is missing": lambda arrays, facts: drop(
        arrays, "optimizer.average.head_bias"
    ),
    "an optimizer's average has another shape": lambda arrays, facts: turn(
        arrays, "optimizer.average.head_weight"
    ),
    "the carried state is missing in part": lambda arrays, facts: drop(arrays, "carried.1"),
    "the carried state has another shape": lambda arrays, facts: turn(arrays, "carried.0"),
    "no random state": lambda arrays, facts: drop(arrays, "rng.cpu"),
    "a short random state": lambda arrays, facts: arrays.update(
        {"rng.cpu": arrays["rng.cpu"][:10]}
    ),
    "a place beyond the text": lambda arrays, facts: facts["trainer"]["batcher"].update(
        index=10**6
    ),
    "a place between two batches": lambda arrays, facts: facts["trainer"]["batcher"].update(
        index=1.5
    ),
    "a place before the text": lambda arrays, facts: facts["trainer"]["batcher"].update(epoch=-1),
    "a negative step": lambda arrays, facts: facts["trainer"]["progress"].update(step=-1),
    "half a step": lambda arrays, facts: facts["trainer"]["progress"].update(step=1.5),
    "no progress": lambda arrays, facts: drop(facts["trainer"], "progress"),
    "a progress of another version": lambda arrays, facts: facts["trainer"]["progress"].update(
        mood=1
    ),
    "another precision": lambda arrays, facts: facts.update(precision="fp64"),
    "endless epochs": lambda arrays, facts: facts.update(epochs=math.inf),
    "no request": lambda arrays, facts: drop(facts, "request"),
    "a list": lambda arrays, facts: facts.update(text=[]),
}


def drop(table: dict[str, Any], name: str) -> None:
    del table[name]


def turn(arrays: dict[str, Any], name: str) -> None:
    arrays[name] = arrays[name].T.copy()


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_that_contradicts_itself_is_not_continued(change: str, tmp_path: Path) -> None:
    state = tmp_path / "last.safetensors"
    with run_in(tmp_path) as small:
        events = small.train()
        while next(events).step < 3:  # type: ignore[union-attr]
            pass
        small.save()
    arrays, facts = from_bytes(state.read_bytes(), "state")
    CHANGES[change](arrays, facts)
    parts = parts_of(to_bytes(arrays, {}))
    state.write_bytes(resealed(Parts(parts.tensors, facts, parts.data)))
    with pytest.raises(ModelFileError, match="contradicts itself"), run_in(tmp_path):
        pass


def test_a_request_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    with run_in(tmp_path):
        pass
    state = tmp_path / "last.safetensors"
    parts = parts_of(state.read_bytes())
    facts = parts.metadata | {"request": {"cell": "a\nb\x1b[31m"}}
    state.write_bytes(resealed(Parts(parts.tensors, facts, parts.data)))
    with pytest.raises(UsageError) as caught, run_in(tmp_path):
        pass
    assert caught.value.message.isprintable()


COMMANDS = (
    ["eval", "MODEL", "TEXT"],
    ["eval", "MODEL", "TEXT", "--json"],
    ["eval", "MODEL", "TEXT", "--exact"],
    ["eval", "MODEL", "TEXT", "--dynamic"],
    ["eval", "MODEL", "TEXT", "--by-line"],
    ["eval", "MODEL", "TEXT", "--by-line", "--json"],
    ["eval", "MODEL", "TEXT", "--by-token"],
    ["eval", "MODEL", "TEXT", "--by-token", "--json"],
    ["eval", "MODEL", "TEXT", "--show"],
    ["compare", "MODEL", "GOOD", "TEXT"],
    ["compare", "GOOD", "MODEL", "TEXT", "--json"],
    ["gradients", "MODEL", "TEXT", "--lags", "5"],
    ["gradients", "MODEL", "TEXT", "--lags", "5", "--json"],
    ["novelty", "MODEL", "TEXT", "--length", "9"],
    ["sample", "MODEL", "--length", "5"],
    ["sample", "MODEL", "--length", "5", "--json"],
    ["sample", "MODEL", "--length", "5", "--beam", "2"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_in_one_line_that_predictions_are_not_finite(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights are finite, and what they lead to is not, at once or where they are random."""
    text = KEPT.parent / "text.txt"
    count, rng = len(MODEL.data) // 4, np.random.default_rng(1)
    for number, weights in enumerate((np.full(count, 3e38), rng.normal(size=count) * 1e30)):
        path = tmp_path / f"{number}.safetensors"
        data = weights.astype("f4").tobytes()
        path.write_bytes(resealed(Parts(MODEL.tensors, MODEL.metadata, data)))
        named = {"MODEL": str(path), "GOOD": str(KEPT), "TEXT": str(text)}
        assert run([named.get(word, word) for word in words]) == 4
        out, err = capsys.readouterr()
        assert "are not finite: its weights are too large." in err
        assert "nan" not in out.lower()


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["table", "json"])
def test_dynamic_evaluation_that_diverges_names_a_lower_rate(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A large output layer needs only one step to overflow."""
    parts = parts_of((KEPT / "model.safetensors").read_bytes())
    begin, end = parts.tensors["head_weight"]["data_offsets"]
    data = bytearray(parts.data)
    data[begin:end] = np.full((end - begin) // 4, 3e37, "f4").tobytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(resealed(Parts(parts.tensors, parts.metadata, bytes(data))))
    words = ["eval", str(path), str(KEPT.parent / "text.txt"), "--dynamic"]
    rates = ["--dynamic-lr", "1", "--dynamic-decay", "0"]
    code = run([*words, *rates, *more])
    out, err = capsys.readouterr()
    assert (code, out) == (6, "")
    assert "Dynamic evaluation diverged after" in err
    assert "Try a lower learning rate: --dynamic-lr 0.25" in err
