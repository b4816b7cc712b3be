"""Machines that refuse: too little memory, too few files and threads, odd environments and clocks.

A command ends well or in one line with exit code 5.
"""

import random
import resource
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import CHARRNN, Outcome, Terminal, process
from counting import Amount
from mutate import mutated_bytes
from small_runs import OPTIONS, results

from charrnn.__main__ import keep_trace

MB, KB = 1 << 20, 1 << 10
LIMITS = {
    "no memory for torch": ("eval", {"AS": 300 * MB}),
    "few files": ("train", {"NOFILE": 8}),
    "files of no size": ("train", {"FSIZE": 0}),
    "no threads": ("train", {"STACK": 3000 * MB, "AS": 4000 * MB}),
}
MORE_LIMITS = {
    f"{command} {name} {limit}": (command, {name: limit})
    for command in ("train", "eval", "sample", "info")
    for name, limits in {
        "AS": [200 * MB, 250 * MB, 400 * MB, 600 * MB, 800 * MB, 1000 * MB, 1500 * MB],
        "NOFILE": [5, 6, 7, 9, 10, 11, 12, 14, 16, 20],
        "FSIZE": [1, KB, 4 * KB, 16 * KB, 64 * KB],
    }.items()
    for limit in limits
}


def words_of(command: str, model: Path, text: Path, out: Path) -> list[str]:
    return {
        "train": ["train", str(text), "--out", str(out), "--quiet", *OPTIONS],
        "eval": ["eval", str(model), str(text)],
        "sample": ["sample", str(model), "--length", "5"],
        "info": ["info", str(model)],
    }[command]


def limited(limits: dict[str, int], words: list[str]) -> Outcome:
    """Run a command under limits of `ulimit`."""

    def limit() -> None:
        for name, value in limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))

    # under a limit of their size Python leaves compiled modules cut off where it can write them
    return process(CHARRNN, *words, preexec_fn=limit, env={"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.mark.parametrize(
    ("command", "limits"),
    [
        *(pytest.param(*case, id=name) for name, case in LIMITS.items()),
        *(
            pytest.param(*case, id=name, marks=pytest.mark.slow)
            for name, case in MORE_LIMITS.items()
        ),
    ],
)
def test_what_is_refused_is_said_in_one_line(
    command: str, limits: dict[str, int], model: Path, text: Path, tmp_path: Path
) -> None:
    outcome = limited(limits, words_of(command, model, text, tmp_path / "run"))
    assert outcome.code in (0, 5), outcome.err
    assert "Traceback" not in outcome.err
    if outcome.code:
        said = [line for line in outcome.err.splitlines() if line.startswith("charrnn: ")]
        assert len(said) == 1, outcome.err


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no home, a plain locale": {"HOME": "/nonexistent", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "odd values": {"LANG": "xx_YY", "TERM": "\x1b[31m", "COLUMNS": "-7", "TMPDIR": "/dev/null"},
}


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(one, id=name, marks=[pytest.mark.slow] * ("odd" in name))
        for name, one in ENVIRONMENTS.items()
    ],
)
def test_an_odd_environment_changes_nothing(
    environment: dict[str, str], text: Path, model: Path, tmp_path: Path
) -> None:
    name = "\u00e9\u202e text.txt"
    (tmp_path / name).write_text(text.read_text())
    words = ["train", tmp_path / name, "--out", tmp_path / "run", "--quiet", *OPTIONS]
    outcome = process(CHARRNN, *words, env=environment)
    assert (outcome.code, outcome.err) == (0, "")
    found, expected = results(tmp_path / "run"), results(model)
    assert {key: found[key] for key in ("config", "metrics")} == {
        key: expected[key] for key in ("config", "metrics")
    }


def test_bytes_that_are_no_utf_8_in_an_argument_are_an_error_in_one_line(
    model: Path, pytestconfig: pytest.Config
) -> None:
    cases = (["sample", model, b"\xff"], ["info", b"\xff"], [b"\xff"])
    for words in cases if pytestconfig.getoption("--slow") else cases[:1]:
        outcome = process(BYTES.format(words=words), env={"LC_ALL": "C"})
        assert outcome.code in (2, 3, 4), outcome.err
        assert "Traceback" not in outcome.err


BYTES = """
import os, sys
from pathlib import PosixPath
words = [os.fsencode(word) for word in {words!r}]
os.execv(sys.executable, [sys.executable, "-m", "charrnn", *words])
"""

WORLD = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29599",
    "CHARRNN_RANKS_TIMEOUT": "1",
}
ODD = ("", "x", "-1", "0", "1.5", "70000", "9" * 30, "9" * 5000, "\u0663", " 1", "no.such.host")


def test_an_environment_like_torchruns_without_peers_is_an_error_in_one_line(
    text: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    rng, words = random.Random(3), ["train", text, "--out", tmp_path, "--quiet", *OPTIONS]
    cases: list[dict[str, str]] = [{}]
    if pytestconfig.getoption("--slow"):
        cases += [{"MASTER_PORT": "x"}]
        cases += [{name: rng.choice(ODD)} for name in WORLD for _ in range(4)]
        cases += [{"TORCH_DISTRIBUTED_DEBUG": "x"}, {"GLOO_SOCKET_IFNAME": "x"}, {"RANK": "1"}]
    for case in cases:
        outcome = process(CHARRNN, *words, env=WORLD | case)
        assert outcome.code in (2, 5), (case, outcome.err)
        first, *hint = outcome.err.splitlines()
        assert first.startswith("charrnn: "), case
        assert len(hint) <= 1, case


def test_a_clock_that_jumps_changes_nothing(
    text: Path, model: Path, tmp_path: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = random.Random(5)
    monkeypatch.setattr(time, "time", partial(jumps.uniform, -1e9, 1e11))
    monkeypatch.setattr(time, "time_ns", partial(jumps.randrange, 1 << 60))
    charrnn.ok("train", text, "--out", tmp_path, "--quiet", *OPTIONS)
    assert results(tmp_path) == results(model)


def test_without_a_folder_for_temporary_files_the_reason_is_given(
    text: Path, model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    monkeypatch.setattr("tempfile.tempdir", None)
    outcome = charrnn("eval", model, text)
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err.startswith("charrnn: Cannot keep the encoded text in a temporary folder: ")
    assert "with CHARRNN_DEBUG=1 for its traceback" in keep_trace("Traceback ...")


def test_no_report_of_the_free_memory_is_believed_that_makes_no_sense(
    amount: Amount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charrnn.runtime.device import free_memory

    rng, cpu = random.Random(6), torch.device("cpu")
    good = b"MemTotal:  8000000 kB\nMemFree:  100 kB\nMemAvailable:  5000000 kB\n"
    for _ in range(amount(200, 20_000)):
        data = mutated_bytes(good, rng)
        monkeypatch.setattr(Path, "read_text", lambda _, data=data: data.decode())
        found = free_memory(cpu)
        assert found is None or found >= 0
