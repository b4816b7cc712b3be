"""Ranks that are killed.

And ranks on two machines: two agents of torchrun, and two network namespaces with a cable.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_cases import charrnn, free_port, killed, torchrun
from small_runs import OPTIONS, results

pytestmark = pytest.mark.slow
NAMES, ADDRESSES = ("charrnn-a", "charrnn-b"), ("10.123.45.1", "10.123.45.2")
SECONDS = 180


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def namespaces() -> Iterator[None]:
    """Two network namespaces and a cable between them, or the test is skipped."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can make network namespaces")
    try:
        ip("link", "add", "crnn0", "type", "veth", "peer", "name", "crnn1")
        for name, device, address in zip(NAMES, ("crnn0", "crnn1"), ADDRESSES, strict=True):
            ip("netns", "add", name)
            ip("link", "set", device, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        remove()
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")
    yield
    remove()


def remove() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", "crnn0"], check=False, capture_output=True)


def agents(
    address: str, text: Path, folders: list[Path], before: list[list[str]]
) -> list[tuple[int, str]]:
    """Run torchrun once for each folder, as on machines of their own.

    Return exit codes and messages.
    """
    rendezvous = [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        f"{address}:{free_port()}",
        "--rdzv-id",
        "test",
    ]
    processes = []
    for node, (folder, prefix) in enumerate(zip(folders, before, strict=True)):
        words = [
            "-m",
            "charrnn",
            "train",
            str(text),
            "--out",
            str(folder),
            *OPTIONS,
            "--batch-size",
            "4",
        ]
        # without a name service, an agent does not know that an address is its own
        local = (
            ["--local-addr", ADDRESSES[node], "--rdzv-conf", f"is_host={1 - node}"]
            if prefix
            else []
        )
        command = [
            *prefix,
            *torchrun("--nnodes", "2", "--nproc-per-node", "1", *rendezvous, *local, *words),
        ]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    try:
        return [
            (one.returncode, err)
            for one in processes
            for _, err in [one.communicate(timeout=SECONDS)]
        ]
    finally:
        for one in processes:
            one.kill()


def check(found: list[tuple[int, str]], folders: list[Path], text: Path, expected: Path) -> None:
    assert [code for code, _ in found] == [0, 0], found
    assert sum("Best model:" in err for _, err in found) == 1, "only the first rank tells"
    words = ["train", str(text), "--out", str(expected), *OPTIONS, "--batch-size", "4"]
    assert [one.returncode for one in charrnn(*words)] == [0, 0]
    (written,) = [folder for folder in folders if (folder / "last.safetensors").exists()]
    assert results(written) == results(expected)
    for folder in folders:  # each machine has encoded the text for itself
        assert (folder / "text.ids").read_bytes() == (expected / "text.ids").read_bytes()


def test_two_agents_on_one_machine(text: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    check(agents("127.0.0.1", text, folders, [[], []]), folders, text, tmp_path / "expected")


@pytest.mark.usefixtures("namespaces")
def test_two_network_namespaces(text: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    inside = [
        ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={device}"]
        for name, device in zip(NAMES, ("crnn0", "crnn1"), strict=True)
    ]
    check(agents(ADDRESSES[0], text, folders, inside), folders, text, tmp_path / "expected")


def test_ranks_are_killed_again_and_again(text: Path, tmp_path: Path) -> None:
    words = [*OPTIONS, "--batch-size", "4", "--dropout", "0.2", "--save-every", "2"]
    kills = [(0, 0), (1, 1), (5, 0), (6, 1), (11, 0), (13, 1)]
    done = killed(kills, ["train", str(text), "--out", str(tmp_path / "run"), *words], tmp_path)
    assert done.returncode == 0, done.stderr
    assert [
        one.returncode
        for one in charrnn("train", str(text), "--out", str(tmp_path / "other"), *words)
    ] == [0, 0]
    assert results(tmp_path / "run") == results(tmp_path / "other")
