import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from io_faults import before_each_call, failing_at, names

from charrnn.errors import MachineError, ModelFileError
from charrnn.storage import container
from charrnn.storage.run_folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from charrnn.storage.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.prepare()
    return folder


@contextmanager
def another_process_holding(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            yield holder
        finally:
            holder.kill()


def save_steps(folder: RunFolder, *steps: int) -> None:
    for step in steps:
        folder.save_state({"weights": np.full(5, step)}, {"step": step})


def step_of(folder: RunFolder) -> int:
    """Load the state, and check that its parts belong together."""
    loaded = folder.load_state()
    assert loaded is not None
    np.testing.assert_array_equal(loaded.arrays["weights"], np.full(5, loaded.facts["step"]))
    return int(loaded.facts["step"])


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_prepare_makes_all_that_is_missing_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "er" / "run")
    seen: list[str] = []
    with before_each_call(seen.append):
        folder.prepare()
    assert seen.count("fsync") == 3  # each new folder's name lasts
    folder.prepare()
    assert names(folder.path) == []


def test_prepare_refuses_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("nowhere")
    for name, what in (
        ("file", "not a folder"),
        ("link", "not a folder"),
        ("file/run", "Not a directory"),
    ):
        with pytest.raises(MachineError, match=what) as caught:
            RunFolder(tmp_path / name).prepare()
        assert str(tmp_path / name) in caught.value.message
    assert (tmp_path / "file").read_bytes() == b"precious"
    assert names(tmp_path) == ["file", "link"]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere"
)
@pytest.mark.parametrize("name", [".", "run"])
def test_prepare_notices_a_missing_permission(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="Permission denied"):
        RunFolder(tmp_path / name).prepare()


def test_prepare_notices_a_folder_that_takes_no_files(run: RunFolder) -> None:
    def read_only(name: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with before_each_call(read_only), pytest.raises(MachineError, match="Read-only file system"):
        run.prepare()


def test_one_process_writes_and_the_next_is_told_who(run: RunFolder) -> None:
    with another_process_holding(run) as holder:
        with pytest.raises(MachineError) as caught, run.lock():
            pass
        holding = rf"process {holder.pid} on host \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d"
        assert re.fullmatch(rf"{run.path} is in use by {holding}\.", caught.value.message)
        assert caught.value.exit_code == 5
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with run.lock():
            pass


def test_the_lock_ends_with_its_block_whatever_happens(run: RunFolder) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), run.lock():
            raise ZeroDivisionError
    with (
        run.lock(),
        pytest.raises(MachineError, match=f"process {os.getpid()} "),
        RunFolder(run.path).lock(),
    ):
        pass


def test_a_lock_file_that_says_nothing_sensible_is_still_a_lock(run: RunFolder) -> None:
    with run.lock():
        (run.path / ".lock").write_bytes(b"\x1b[31m\xff")
        with (
            pytest.raises(MachineError, match="in use by another process"),
            RunFolder(run.path).lock(),
        ):
            pass


def test_a_lock_cannot_be_led_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (run.path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(MachineError, match="Cannot lock"), run.lock():
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_the_lock_clears_away_what_a_killed_writer_left(run: RunFolder) -> None:
    (run.path / ".last.safetensors.0123abcd.tmp").touch()
    with run.lock():
        assert names(run.path) == [".lock"]


def test_runs_set_aside_are_numbered_and_kept(run: RunFolder) -> None:
    with run.lock():
        assert run.archive() is None
        for number in (1, 2):
            save_steps(run, number)
            assert run.archive() == run.path.with_name(f"run.old-{number}")
            assert names(run.path) == [".lock"]
    old = (RunFolder(run.path.with_name(f"run.old-{number}")) for number in (1, 2))
    assert [step_of(folder) for folder in old] == [1, 2]
    with pytest.raises(RuntimeError, match="lock"):
        run.archive()


def test_a_run_that_cannot_be_moved_stays_where_it_is(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    save_steps(run, 1)
    monkeypatch.setattr(Path, "rename", fail)
    with run.lock(), pytest.raises(MachineError, match=rf"Cannot .* {run.path}: Permission denied"):
        run.archive()
    assert step_of(run) == 1


def test_the_lock_moves_on_with_the_new_folder(run: RunFolder) -> None:
    save_steps(run, 1)
    with run.lock():
        old = run.archive()
        assert old is not None
        with pytest.raises(MachineError, match="in use"), RunFolder(run.path).lock():
            pass
        with RunFolder(old).lock():
            pass
    with RunFolder(run.path).lock():
        pass


def test_a_lock_file_moved_away_between_opening_and_locking_does_not_count(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        (run.path / ".lock").rename(run.path / "moved")
        (run.path / ".lock").touch()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(MachineError, match="in use"), run.lock():
        pass


@pytest.mark.parametrize(
    ("error", "works"), [(errno.ENOTSUP, True), (errno.ENOLCK, True), (errno.EIO, False)]
)
def test_a_disk_that_knows_no_locks_can_be_used(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, error: int, works: bool
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    with nullcontext() if works else pytest.raises(MachineError, match="Cannot lock"), run.lock():
        pass


def test_a_run_behind_a_link_is_set_aside_where_it_is(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("run")
    folder = RunFolder(tmp_path / "link")
    save_steps(folder, 1)
    with folder.lock():
        assert folder.archive() == tmp_path / "run.old-1"
        save_steps(folder, 2)
    assert step_of(run) == 2


def test_the_configuration_is_written_for_people(run: RunFolder) -> None:
    run.write_config({"lr": 0.5, "name": "Größe"})
    assert json.loads(run.config.read_text()) == {"lr": 0.5, "name": "Größe"}
    assert run.config.read_text().count("\n") == 4


def test_the_log_is_on_disk_before_the_state_that_goes_with_it(run: RunFolder) -> None:
    run.metrics.append({"step": 1})
    seen: list[str] = []
    with before_each_call(seen.append):
        save_steps(run, 1)
    assert seen[:3] == ["fsync", "open", "write"]


def test_the_newest_state_is_loaded_and_the_one_before_it_kept(run: RunFolder) -> None:
    assert run.load_state() is None
    save_steps(run, 1, 2, 3)
    assert step_of(run) == 3
    assert names(run.path) == ["last.safetensors", "previous.safetensors"]
    assert container.load(run.previous)[1] == {"step": 2}


def test_a_damaged_state_is_named_and_the_one_before_it_used(run: RunFolder) -> None:
    save_steps(run, 1, 2)
    damage(run.last)
    loaded = run.load_state()
    assert loaded is not None
    assert loaded.facts == {"step": 1}
    assert loaded.damage == (f"{run.last} is damaged: its checksum does not match.",)


def test_a_damaged_state_never_pushes_out_a_good_one(run: RunFolder) -> None:
    save_steps(run, 1, 2)
    damage(run.last)
    with before_each_call(failing_at(5, errno.EIO)), pytest.raises(MachineError):
        save_steps(run, 3)
    assert container.load(run.previous)[1] == {"step": 1}
    save_steps(run, 3)
    assert [container.load(path)[1]["step"] for path in (run.last, run.previous)] == [3, 1]


def test_a_run_without_a_good_state_never_starts_over(run: RunFolder) -> None:
    save_steps(run, 1, 2)
    damage(run.last)
    damage(run.previous)
    with pytest.raises(
        ModelFileError, match=r"(?s)last\.safetensors.*previous\.safetensors.*`fresh`"
    ):
        run.load_state()
    run.previous.unlink()
    with pytest.raises(ModelFileError, match="last"):
        run.load_state()


def test_whichever_call_fails_a_good_state_remains(run: RunFolder) -> None:
    found = []
    for number in range(1, 11):
        shutil.rmtree(run.path)
        run.prepare()
        save_steps(run, 1, 2)
        with before_each_call(failing_at(number, errno.EIO)), suppress(MachineError):
            save_steps(run, 3)
        found.append(step_of(run))
        assert names(run.path)[-1] == "previous.safetensors"
    # open, write, fsync, close (never fails), the replace that keeps, the replace, open, fsync,
    # close; and no failure
    assert found == [2, 2, 2, 3, 2, 2, 3, 3, 3, 3]


def test_a_save_killed_at_any_call_leaves_a_good_state(run: RunFolder, tmp_path: Path) -> None:
    save_steps(run, 1, 2)
    seen: list[int] = []

    def look(_: str) -> None:
        copy = RunFolder(tmp_path / f"copy-{len(seen)}")
        shutil.copytree(run.path, copy.path)
        seen.append(-1)  # the copy's own calls come here too
        seen[-1] = step_of(copy)

    with before_each_call(look):
        save_steps(run, 3)
    assert seen == sorted(seen)
    assert set(seen) == {2, 3}
