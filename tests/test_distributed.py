"""Training in several processes: it comes to what one process comes to, from the same command.

What one of them cannot do is refused, or ends, in all.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_cases import (
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
from small_runs import OPTIONS, RUN_FILES, TEXT, results

from charrnn.config.training import TrainConfig
from charrnn.data.batching.base import NO_TARGET, Batch, shard
from charrnn.data.text import no_progress
from charrnn.errors import MachineError, UsageError
from charrnn.runtime.distributed import ALONE, ConnectionLost, ProcessGroup
from charrnn.runtime.rendezvous import _backend, group_from, process_group
from charrnn.training.inputs import read_inputs
from charrnn.training.request import TrainRequest
from charrnn.training.sharding import check_shards

PLACE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
OPTIONS_OF_RANKS = [*OPTIONS, "--batch-size", "4"]


def lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    return result.stderr.splitlines()


# --- a process's place


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    assert group_from({}) == group_from(PLACE) == group_from(ADDRESS) == ALONE
    assert ALONE.is_main
    with process_group("cpu", "auto") as group:
        assert group == ALONE


def test_the_environment_gives_a_place() -> None:
    group = group_from(PLACE | ADDRESS | {"TORCHELASTIC_RESTART_COUNT": "3"})
    assert group == ProcessGroup(rank=1, size=4, local_rank=1, local_size=2, restarts=3)
    assert not group.is_main


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
        group_from(PLACE | ADDRESS | wrong)


def test_alone_no_communication_is_needed() -> None:
    assert ALONE.all_gather(1) == [1]
    assert ALONE.broadcast("a") == "a"
    assert ALONE.sum(1.5, 2.0) == ALONE.max(1.5, 2.0) == [1.5, 2.0]
    assert ALONE.main_process_first(lambda: 3) == ALONE.all_or_none(lambda: 3) == 3
    assert ALONE.on_main(lambda: 3) == 3
    assert ALONE.run_and_compare(lambda: 3, lambda found: {"It": f"{found}"}, "") == 3
    with pytest.raises(RuntimeError, match="mine"), ALONE.communication_errors():
        raise RuntimeError("mine")


def test_a_broken_connection_is_told_by_each_that_notices() -> None:
    one = ProcessGroup(rank=1, size=2)
    with pytest.raises(ConnectionLost) as caught, one.communication_errors():
        raise RuntimeError("Broken pipe. This is typically what happens\nand more")
    assert caught.value.message.endswith("to the others: Broken pipe")
    assert caught.value.message.startswith("Rank 1 of 2 ")
    assert "--max-restarts" in caught.value.hint
    with pytest.raises(RuntimeError, match="out of memory"), one.communication_errors():
        raise RuntimeError("out of memory")


# --- shards of a batch


@given(rows=st.integers(0, 50), count=st.integers(1, 20))
def test_shards_are_all_of_the_rows_and_of_about_equal_size(rows: int, count: int) -> None:
    shards = [shard(rows, index, count) for index in range(count)]
    assert [row for one in shards for row in range(rows)[one]] == list(range(rows))
    sizes = {len(range(rows)[one]) for one in shards}
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_without_rows_has_one_in_which_there_is_nothing_to_predict() -> None:
    ids = torch.arange(6).reshape(2, 3)
    batch = Batch(ids, ids + 1, True, 3)
    shards = [batch.shard(index, 4) for index in range(4)]
    assert [one.tokens for one in shards] == [0, 3, 0, 3]
    assert [len(one.inputs) for one in shards] == [1, 1, 1, 1]
    assert (shards[0].targets == NO_TARGET).all()


@pytest.mark.parametrize(
    ("rows", "accumulate", "size", "message"),
    [
        (4, 1, 3, "`batch_size` 4 is not divisible by 3 ranks.\nTry `batch_size` 3."),
        (4, 3, 1, "`batch_size` 4 is not divisible by 3 accumulation steps."),
        (32, 3, 2, "divisible by 2 ranks times 3 accumulation steps.\nTry `batch_size` 30."),
        (5, 1, 2, "The number of the text's streams, 5, is not divisible by 2 ranks."),
        (2, 1, 4, "Try `batch_size` 4."),
    ],
)
def test_a_batch_that_does_not_come_out_even_is_refused(
    rows: int, accumulate: int, size: int, message: str
) -> None:
    config = TrainConfig(batch_size=32 if rows == 5 else rows, accumulate=accumulate)
    with pytest.raises(UsageError) as caught:
        check_shards(rows, config, ProcessGroup(size=size))
    assert message in str(caught.value)


# --- the same numbers


# Four ranks take up to a row or two each; what they do with it is what two ranks do.
CASES_OF = {
    2: tuple(CASES),
    4: ("lstm sequential", "minlstm stride", "attention", "accumulate", "few long records"),
}
every_case = pytest.mark.parametrize(
    ("size", "name"),
    [
        pytest.param(size, name, marks=[pytest.mark.slow] * (size > 2))
        for size, names in CASES_OF.items()
        for name in names
    ],
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return where so many ranks keep what they have found in their cases, which they do once."""

    @cache
    def train(size: int) -> Path:
        folder = tmp_path_factory.mktemp("cases")
        words = [str(HERE / "process_cases.py"), str(folder), *CASES_OF[size]]
        for rank, one in enumerate(ended(start([words] * size))):
            assert one.returncode == 0, f"rank {rank}: {one.stderr}"
        return folder

    return train


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder, every = tmp_path_factory.mktemp("alone"), {}
    for name in CASES:
        save(trained(name, ALONE), folder / f"{name}.npz")
        every[name] = load(folder / f"{name}.npz")
    return every


@every_case
def test_ranks_come_to_what_one_process_comes_to(
    size: int, name: str, found: Callable[[int], Path], alone: dict[str, dict[str, Any]]
) -> None:
    mine, expected = load(found(size) / f"{name}-0.npz"), alone[name]
    assert mine["gradients"].keys() == expected["gradients"].keys()
    for key, value in expected["gradients"].items():
        np.testing.assert_allclose(mine["gradients"][key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    np.testing.assert_allclose(mine["losses"], expected["losses"], rtol=1e-4)
    assert mine["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-6)
    assert mine["tokens"] == expected["tokens"]
    assert mine["score"] == pytest.approx(expected["score"], rel=1e-3)
    assert mine["facts"]["batcher"] == expected["facts"]["batcher"]
    assert {key: value.shape for key, value in mine["arrays"].items()} == {
        key: value.shape for key, value in expected["arrays"].items()
    }
    assert len(mine["generators"]) == size


@every_case
def test_all_ranks_have_the_same_weights_losses_and_score(
    size: int, name: str, found: Callable[[int], Path]
) -> None:
    first, *others = (load(found(size) / f"{name}-{rank}.npz") for rank in range(size))
    for other in others:
        assert {key: other[key] for key in ("losses", "norms", "score", "facts")} == {
            key: first[key] for key in ("losses", "norms", "score", "facts")
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
    assert {path.name for path in folder.iterdir()} == RUN_FILES


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
        assert "It was started with 2 ranks" in one.stderr


def test_ranks_that_were_asked_for_different_things_are_refused(text: Path, tmp_path: Path) -> None:
    words = ["-m", "charrnn", "train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    first, second = ended(start([words, [*words, "--lr", "0.5"]]))
    assert (first.returncode, second.returncode) == (2, 2)
    assert "The options of rank 1: " in first.stderr
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
        (["--batch-size", "3"], 2, "--batch-size 3 is not divisible by 2 ranks"),
        pytest.param(
            *(["--backend", "nccl"], 5, "--backend nccl needs a GPU for each rank"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(["-"], 2, "Several ranks cannot read one standard input"), marks=pytest.mark.slow
        ),
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


def test_two_ranks_have_no_common_standard_input() -> None:
    request, two = TrainRequest(texts=("-",)), ProcessGroup(0, 2, 0, 2)
    with ExitStack() as stack, pytest.raises(UsageError, match="cannot read one standard input"):
        read_inputs(request, two, stack, no_progress, locks=False)


def test_nccl_needs_gpus() -> None:
    with pytest.raises(MachineError, match="needs a GPU for each rank"):
        _backend(ProcessGroup(0, 2, 0, 2), "cpu", "nccl")


def test_ranks_that_never_come_are_not_waited_for_long(text: Path, tmp_path: Path) -> None:
    words = ["-m", "charrnn", "train", str(text), "--out", str(tmp_path / "run"), *OPTIONS_OF_RANKS]
    place = environment(0, 2, port := free_port(), CHARRNN_RANKS_TIMEOUT="2")
    one = subprocess.run(
        [sys.executable, *words], env=place, capture_output=True, text=True, timeout=60, check=False
    )
    assert one.returncode == 5
    assert (
        f"Rank 0: the rendezvous of 2 ranks at 127.0.0.1:{port} timed out after 2 s." in one.stderr
    )
    assert "Traceback" not in one.stderr


@pytest.mark.parametrize("given_", ["no", "-1", "nan"])
def test_a_timeout_that_is_none_is_refused(given_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(0, 2, 1, CHARRNN_RANKS_TIMEOUT=given_).items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UsageError, match="CHARRNN_RANKS_TIMEOUT must be"),
        process_group("cpu", "auto"),
    ):
        pass


@pytest.mark.parametrize("command", ["sample", "info"])
def test_other_commands_are_not_for_several_ranks(command: str, model: Path) -> None:
    first, second = charrnn(command, str(model))
    assert (first.returncode, second.returncode) == (2, 2)
    assert f"charrnn {command} runs in one process" in first.stderr
    assert second.stderr == ""


@pytest.mark.slow
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
