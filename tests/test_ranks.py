"""Training among several ranks: the same as in one process, from the same command.

Refused or ended together.
"""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import OPTIONS, TEXT, results
from together import (
    CASES,
    HERE,
    charrnn,
    ended,
    environment,
    free_port,
    killed,
    load,
    save,
    start,
    trained,
)

from charrnn.config.schema import TrainConfig
from charrnn.data.batching import Batch, share
from charrnn.data.batching.base import NO_TARGET
from charrnn.errors import UsageError
from charrnn.runtime.distributed import ALONE, Ranks, joined, ranks_of
from charrnn.training.trainer import check_shares

PLACE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
OPTIONS_OF_RANKS = [*OPTIONS, "--batch-size", "4"]


def lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    return result.stderr.splitlines()


# --- a place among ranks


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    assert ranks_of({}) == ranks_of(PLACE) == ranks_of(ADDRESS) == ALONE
    assert ALONE.first
    with joined("cpu", "auto") as ranks:
        assert ranks == ALONE


def test_the_environment_gives_a_place() -> None:
    ranks = ranks_of(PLACE | ADDRESS | {"TORCHELASTIC_RESTART_COUNT": "3"})
    assert (ranks.rank, ranks.size, ranks.local_rank, ranks.local_size, ranks.restarts) == (
        1,
        4,
        1,
        2,
        3,
    )
    assert not ranks.first


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "4"},
        {"RANK": "-1"},
        {"WORLD_SIZE": "no"},
        {"LOCAL_RANK": "2"},
        {"LOCAL_WORLD_SIZE": "5"},
    ],
    ids=str,
)
def test_an_environment_that_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(UsageError, match=f"{name}={value}"):
        ranks_of(PLACE | ADDRESS | wrong)


def test_alone_nothing_is_talked_about() -> None:
    assert ALONE.gather(1) == [1]
    assert ALONE.from_first("a") == "a"
    assert ALONE.total(1.5, 2.0) == ALONE.most(1.5, 2.0) == [1.5, 2.0]
    assert ALONE.in_turn(lambda: 3) == ALONE.together(lambda: 3) == 3
    with pytest.raises(RuntimeError, match="mine"), ALONE.talking():
        raise RuntimeError("mine")


# --- shares of a batch


@given(rows=st.integers(0, 50), count=st.integers(1, 20))
def test_shares_are_all_of_the_rows_and_of_about_equal_size(rows: int, count: int) -> None:
    shares = [share(rows, index, count) for index in range(count)]
    assert [row for one in shares for row in range(rows)[one]] == list(range(rows))
    sizes = {len(range(rows)[one]) for one in shares}
    assert max(sizes) - min(sizes) <= 1


def test_a_share_without_rows_has_one_in_which_there_is_nothing_to_predict() -> None:
    ids = torch.arange(6).reshape(2, 3)
    batch = Batch(ids, ids + 1, True, 3)
    shares = [batch.share(index, 4) for index in range(4)]
    assert [one.tokens for one in shares] == [0, 3, 0, 3]
    assert [len(one.inputs) for one in shares] == [1, 1, 1, 1]
    assert (shares[0].targets == NO_TARGET).all()


@pytest.mark.parametrize(
    ("rows", "accumulate", "size", "message"),
    [
        (4, 1, 3, r"--batch-size 4 cannot be shared evenly among 3 ranks\.\nTry --batch-size 3\."),
        (4, 3, 1, r"--batch-size 4 cannot be shared evenly among 3 parts\."),
        (
            32,
            3,
            2,
            r"--batch-size 32 cannot be shared evenly among 2 ranks of 3 parts\.\nTry --batch-size 30\.",
        ),
        (5, 1, 2, r"The text's 5 streams cannot be shared evenly among 2 ranks\."),
        (2, 1, 4, r"Try --batch-size 4\."),
    ],
)
def test_a_batch_that_does_not_come_out_even_is_refused(
    rows: int, accumulate: int, size: int, message: str
) -> None:
    config = TrainConfig(batch_size=32 if rows == 5 else rows, accumulate=accumulate)
    with pytest.raises(UsageError) as caught:
        check_shares(rows, config, Ranks(size=size))
    assert re.search(message, str(caught.value))


# --- the same numbers


@pytest.fixture(scope="module", params=[2, 4], ids=["2 ranks", "4 ranks"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("cases")
    for rank, one in enumerate(
        ended(start([[str(HERE / "together.py"), str(folder)]] * request.param))
    ):
        assert one.returncode == 0, f"rank {rank}: {one.stderr}"
    return request.param, folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder, every = tmp_path_factory.mktemp("alone"), {}
    for name in CASES:
        save(trained(name, ALONE), folder / f"{name}.npz")
        every[name] = load(folder / f"{name}.npz")
    return every


@pytest.mark.parametrize("name", CASES)
def test_ranks_come_to_what_one_process_comes_to(
    name: str, found: tuple[int, Path], alone: dict[str, dict[str, Any]]
) -> None:
    size, folder = found
    mine, expected = load(folder / f"{name}-0.npz"), alone[name]
    assert mine["gradients"].keys() == expected["gradients"].keys()
    for key, value in expected["gradients"].items():
        np.testing.assert_allclose(mine["gradients"][key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(mine["losses"], expected["losses"], rtol=1e-4)
    assert mine["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-6)
    assert mine["tokens"] == expected["tokens"]
    assert mine["score"] == pytest.approx(expected["score"], rel=1e-3)
    assert mine["values"]["batcher"] == expected["values"]["batcher"]
    assert {key: value.shape for key, value in mine["arrays"].items()} == {
        key: value.shape for key, value in expected["arrays"].items()
    }
    assert len(mine["generators"]) == size


@pytest.mark.parametrize("name", CASES)
def test_all_ranks_have_the_same_weights_losses_and_score(
    name: str, found: tuple[int, Path]
) -> None:
    size, folder = found
    first, *others = (load(folder / f"{name}-{rank}.npz") for rank in range(size))
    for other in others:
        assert {key: other[key] for key in ("losses", "norms", "score", "values")} == {
            key: first[key] for key in ("losses", "norms", "score", "values")
        }
        for key, value in first["arrays"].items():
            np.testing.assert_array_equal(other["arrays"][key], value, err_msg=key)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_parts_of_a_batch_come_to_what_the_whole_comes_to(
    accumulate: int, alone: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "parts", {"accumulate": accumulate})
    mine, expected = trained("parts", ALONE), alone["lstm sequential"]
    for key, value in expected["gradients"].items():
        np.testing.assert_allclose(mine["gradients"][key], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mine["losses"], expected["losses"], rtol=1e-4)


# --- the command


@pytest.fixture(scope="module")
def undisturbed(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run of two ranks, with dropout, from beginning to end."""
    folder = tmp_path_factory.mktemp("ranks") / "run"
    return folder, charrnn(*command(text, folder), "--json")


def command(text: Path, folder: Path) -> list[str]:
    return ["train", str(text), "--out", str(folder), *OPTIONS_OF_RANKS, "--dropout", "0.2"]


def test_the_first_rank_alone_writes(undisturbed: tuple[Path, list[Any]]) -> None:
    folder, (first, second) = undisturbed
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert json.loads(first.stdout)["ranks"] == 2
    assert "2 ranks, each on cpu with 1 thread" in first.stderr
    assert first.stderr.count("Best model:") == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "config.json", "last.safetensors", "metrics.jsonl", "model.safetensors", "previous.safetensors",
        "text.ids",
    ]  # fmt: skip


def test_the_same_ranks_come_to_the_same_bytes(
    text: Path, undisturbed: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    """Interrupted by a signal that only one of them gets, too."""
    words = command(text, tmp_path / "run")
    processes = start([["-m", "charrnn", *words, "--steps", "14"]] * 2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() and all(process.poll() is None for process in processes):
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGINT)
    first, second = ended(processes)
    assert first.returncode == second.returncode
    assert first.returncode in (0, 130), first.stderr
    if first.returncode == 130:
        assert "Stopped and saved at step" in first.stderr
        assert second.stderr == ""
        assert [one.returncode for one in charrnn(*words)] == [0, 0]
    assert results(tmp_path / "run") == results(undisturbed[0])


def test_another_number_of_ranks_goes_on_and_says_so(text: Path, tmp_path: Path) -> None:
    words = ["train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    processes = start([["-m", "charrnn", *words]] * 2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() and all(process.poll() is None for process in processes):
        time.sleep(0.01)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes = {one.returncode for one in ended(processes)}
    assert codes in ({143}, {0})
    (one,) = charrnn(*words, ranks=1)
    assert one.returncode == 0
    if codes == {143}:
        assert "It was begun by 2 ranks" in one.stderr


def test_ranks_that_were_asked_for_different_things_are_refused(text: Path, tmp_path: Path) -> None:
    words = ["-m", "charrnn", "train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    first, second = ended(start([words, [*words, "--lr", "0.5"]]))
    assert (first.returncode, second.returncode) == (2, 2)
    assert "What was asked for of rank 1: " in first.stderr
    assert "--lr 0.5" in first.stderr
    assert second.stderr == ""


def test_ranks_with_different_texts_are_refused(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "folder" / text.name
    other.parent.mkdir()
    other.write_text(TEXT + "more", encoding="utf-8")
    both = [
        ["-m", "charrnn", "train", str(path), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
        for path in (text, other)
    ]
    first, second = ended(start(both))
    assert (first.returncode, second.returncode) == (2, 2)
    assert "The SHA-256 of the text of rank 1: " in first.stderr


def test_what_fails_on_one_rank_ends_all_and_the_first_says_where(
    text: Path, tmp_path: Path
) -> None:
    words = ["-m", "charrnn", "train", "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    first, second = ended(start([[*words, str(text)], [*words, str(tmp_path / "nothing.txt")]]))
    assert (first.returncode, second.returncode) == (3, 3)
    assert "charrnn: Rank 1: " in first.stderr
    assert "nothing.txt" in first.stderr
    assert second.stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--batch-size", "3"], 2, "--batch-size 3 cannot be shared evenly among 2 ranks"),
        (["--backend", "nccl"], 5, "--backend nccl needs a GPU for each rank"),
        (["-"], 2, "Several ranks cannot read one standard input"),
    ],
    ids=["batch", "nccl", "stdin"],
)
def test_what_ranks_cannot_do_is_refused(
    text: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    found = charrnn("train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS, *words)
    assert [one.returncode for one in found] == [code, code]
    assert message in found[0].stderr
    assert "Traceback" not in found[0].stderr + found[1].stderr


def test_ranks_that_never_come_are_not_waited_for_long(text: Path, tmp_path: Path) -> None:
    words = ["-m", "charrnn", "train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    place = environment(0, 2, port := free_port(), CHARRNN_RANKS_TIMEOUT="2")
    one = subprocess.run(
        [sys.executable, *words], env=place, capture_output=True, text=True, timeout=60, check=False
    )
    assert one.returncode == 5
    assert f"Rank 0: the 2 ranks have not met at 127.0.0.1:{port} within 2 s." in one.stderr
    assert "Traceback" not in one.stderr


@pytest.mark.parametrize("given_", ["no", "-1", "nan"])
def test_a_timeout_that_is_none_is_refused(given_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(0, 2, 1, CHARRNN_RANKS_TIMEOUT=given_).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="CHARRNN_RANKS_TIMEOUT must be"), joined("cpu", "auto"):
        pass


@pytest.mark.parametrize("command", ["sample", "info"])
def test_other_commands_are_not_for_several_ranks(command: str, model: Path) -> None:
    first, second = charrnn(command, str(model))
    assert (first.returncode, second.returncode) == (2, 2)
    assert f"charrnn {command} runs in one process" in first.stderr
    assert second.stderr == ""


def test_torchrun_begins_again_after_a_rank_was_killed(text: Path, tmp_path: Path) -> None:
    """With --fresh, too, which is for the first time only.

    And to the same bytes as an undisturbed run.
    """
    words = [*OPTIONS_OF_RANKS, "--dropout", "0.2", "--save-every", "3"]
    done = killed(
        [(8, 1)], ["train", str(text), "--out", str(tmp_path / "run"), "--fresh", *words], tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Continuing the run" in done.stderr
    undisturbed = ["train", str(text), "--out", str(tmp_path / "other"), *words]
    assert [one.returncode for one in charrnn(*undisturbed)] == [0, 0]
    assert results(tmp_path / "run") == results(tmp_path / "other")
