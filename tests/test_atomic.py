import errno
import os
import shutil
import stat
from pathlib import Path

import pytest
from io_faults import before_each_call, failing_at, names

from charrnn.errors import MachineError
from charrnn.storage.atomic import atomic_writer, remove_temporaries, write_atomic


def test_the_content_is_written_whole_and_may_be_empty(tmp_path: Path) -> None:
    for data in (b"one", b"", b"x" * 100_000):
        write_atomic(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert names(tmp_path) == ["file"]


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path,
) -> None:
    seen: list[str] = []
    with before_each_call(seen.append):
        write_atomic(tmp_path / "file", b"data")
    assert seen == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    write_atomic(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_whichever_call_fails_the_old_file_or_the_new_one_is_there(
    tmp_path: Path, error: int
) -> None:
    path = tmp_path / "file"
    for number in (1, 2, 3, 5):  # open, write, fsync, replace
        path.write_bytes(b"old")
        with (
            before_each_call(failing_at(number, error)),
            pytest.raises(MachineError, match=os.strerror(error)) as caught,
        ):
            write_atomic(path, b"new")
        assert str(path) in caught.value.message
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]
    with (
        before_each_call(failing_at(7, error)),
        pytest.raises(MachineError, match=os.strerror(error)),
    ):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path) -> None:
    for number, error in ((6, errno.EACCES), (7, errno.EINVAL)):
        with before_each_call(failing_at(number, error)):
            write_atomic(tmp_path / "file", str(number).encode())
        assert (tmp_path / "file").read_text() == str(number)


def test_a_writer_killed_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    folder, seen = tmp_path / "folder", []
    folder.mkdir()
    (folder / "file").write_bytes(b"old")

    def look(_: str) -> None:
        copy = shutil.copytree(folder, tmp_path / f"copy-{len(seen)}")
        seen.append((copy / "file").read_bytes())
        remove_temporaries(copy)
        assert names(copy) == ["file"]

    with before_each_call(look):
        write_atomic(folder / "file", b"new")
    assert seen == [b"old"] * 5 + [b"new"] * 3


def test_a_full_disk_says_how_much_was_needed_and_is_free(tmp_path: Path) -> None:
    with (
        before_each_call(failing_at(2, errno.ENOSPC)),
        pytest.raises(MachineError, match=r"needs 2\.0 MB, [\d,.]+ MB free"),
    ):
        write_atomic(tmp_path / "file", bytes(2_000_000))


def test_an_interrupt_removes_the_temporary_file_too(tmp_path: Path) -> None:
    def interrupt(name: str) -> None:
        if name == "fsync":
            raise KeyboardInterrupt

    with before_each_call(interrupt), pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert names(tmp_path) == []


def test_what_stands_under_the_temporary_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.storage.atomic.secrets.token_hex", lambda _: "0123abcd")
    (tmp_path / ".file.0123abcd.tmp").symlink_to("elsewhere")
    with pytest.raises(MachineError, match="exists"):
        write_atomic(tmp_path / "file", b"data")
    assert names(tmp_path) == [".file.0123abcd.tmp"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000], ids=oct)
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("kind", ["symbolic link", "dangling link", "folder", "pipe", "device"])
def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "target", tmp_path / "other"
    if kind == "symbolic link":
        other.write_bytes(b"precious")
        path.symlink_to(other)
    elif kind == "dangling link":
        path.symlink_to(other)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        make_null_device(path)
    before, around = path.lstat(), names(tmp_path)
    with pytest.raises(MachineError, match=kind.split()[-1]):
        write_atomic(path, b"new")
    assert path.lstat() == before
    assert names(tmp_path) == around
    assert not other.exists() or other.read_bytes() == b"precious"


def make_null_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def test_left_over_temporaries_are_removed_and_nothing_else(tmp_path: Path) -> None:
    keep = [
        ".lock",
        "file.tmp",
        ".file.tmp",
        ".file.123.tmp",
        "model.safetensors",
        ".notes.0123abcd.tmp.txt",
    ]
    for name in [*keep, ".model.safetensors.0123abcd.tmp"]:
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert names(tmp_path) == sorted(keep)


def write_pieces(path: Path, *pieces: bytes, error: BaseException | None = None) -> None:
    with atomic_writer(path) as write:
        for piece in pieces:
            write(piece)
        if error is not None:
            raise error


def test_pieces_are_one_file_in_the_end(tmp_path: Path) -> None:
    seen: list[str] = []
    (tmp_path / "file").write_bytes(b"old")
    with before_each_call(seen.append), atomic_writer(tmp_path / "file") as write:
        for piece in (b"one", b"", b" two"):
            write(piece)
        assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert seen == ["open", *["write"] * 2, "fsync", "close", "replace", "open", "fsync", "close"]
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), ValueError("a"), MachineError("b"), GeneratorExit(), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
def test_what_is_raised_between_the_pieces_leaves_all_as_it_was(
    error: BaseException, tmp_path: Path
) -> None:
    for before in ([], ["file"]):
        with pytest.raises(type(error)) as caught:
            write_pieces(tmp_path / "file", b"new", error=error)
        assert caught.value is error
        assert names(tmp_path) == before
        (tmp_path / "file").write_bytes(b"old")
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EEXIST], ids=errno.errorcode.get)
def test_a_system_error_between_the_pieces_is_named_and_leaves_all_as_it_was(
    error: int, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match=r"Cannot save .*file: "):
        write_pieces(tmp_path / "file", b"new", error=OSError(error, os.strerror(error)))
    assert names(tmp_path) == []


def test_whichever_call_fails_pieces_leave_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, found = tmp_path / "file", []
    for number in (1, 2, 3, 4, 6, 8):  # open, write, write, fsync, replace, fsync
        path.write_bytes(b"old")
        with (
            pytest.raises(MachineError, match="Input/output error"),
            before_each_call(failing_at(number, errno.EIO)),
        ):
            write_pieces(path, b"ne", b"w")
        found.append(path.read_bytes())
        assert names(tmp_path) == ["file"]
    assert found == [b"old"] * 5 + [b"new"]


def test_pieces_replace_nothing_but_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("elsewhere")
    with pytest.raises(MachineError, match="symbolic link"), atomic_writer(tmp_path / "file"):
        raise AssertionError("It is begun.")
    assert names(tmp_path) == ["file"]


def test_a_name_that_a_terminal_cannot_show_stays_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        write_atomic(tmp_path / "no\nsuch\x1b[31m" / "file", b"data")
    assert caught.value.message.isprintable()
