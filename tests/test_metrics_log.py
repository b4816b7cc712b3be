"""A log of whole lines, cut back to where a run continues."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from io_faults import before_each_call, failing_at

from charrnn.errors import MachineError
from charrnn.storage.metrics_log import MetricsLog


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    return MetricsLog(tmp_path / "metrics.jsonl")


def test_metrics_come_back_line_by_line(log: MetricsLog) -> None:
    assert log.read() == []
    log.cut(5)
    assert not log.path.exists()
    lines = [{"step": step, "loss": 1 / step, "text": "a\nb\r\u2028"} for step in (1, 2, 3)]
    for line in lines:
        log.append(line)
    assert log.read() == lines
    assert log.path.read_bytes().count(b"\n") == 3


def test_cutting_keeps_whole_lines_up_to_the_step_byte_for_byte(log: MetricsLog) -> None:
    kept = b'{"step": 1, "loss":2.50}\n{"step":2}\n'
    log.path.write_bytes(
        kept + b'{"step": 3}\n{"step"\n[2]\n{"loss": 1}\n{"step": "2"}\n\xff\n{"step": 2, "lo'
    )
    assert [line["step"] for line in log.read()] == [1, 2, 3]
    log.cut(2)
    assert log.path.read_bytes() == kept
    assert log.damaged == 5  # and the last line, which is incomplete, as after a kill
    log.append({"step": 3})
    assert log.read()[-1] == {"step": 3}


def test_a_last_line_without_its_end_is_dropped_though_it_reads_well(log: MetricsLog) -> None:
    log.path.write_bytes(b'{"step": 1}\n{"step": 2}')
    log.cut(2)
    assert log.path.read_bytes() == b'{"step": 1}\n'


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(
    log: MetricsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append({"step": 1})
    before, real = log.path.read_bytes(), os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(MachineError, match="No space left"):
        log.append({"step": 2})
    assert log.path.read_bytes() == before


def test_metrics_are_written_to_a_regular_file_only(log: MetricsLog, tmp_path: Path) -> None:
    log.path.symlink_to(tmp_path / "elsewhere")
    for act in (lambda: log.append({"step": 1}), log.read, lambda: log.cut(1)):
        with pytest.raises(MachineError, match="symbolic link"):
            act()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("evaluated", "kept"),
    [(None, ["1", "2", "2 valid", "3", "4", "4 valid"]), (2, ["1", "2", "2 valid", "3", "4"])],
)
def test_an_evaluation_that_is_still_to_come_is_cut_too(
    evaluated: int | None, kept: list[str], log: MetricsLog
) -> None:
    for step in range(1, 7):
        log.append({"step": step})
        if step % 2 == 0:
            log.append({"step": step, "valid": 1.0})
    log.cut(4, evaluated)
    found = [f"{line['step']}{' valid' if 'valid' in line else ''}" for line in log.read()]
    assert found == kept


@given(
    lines=st.lists(
        st.fixed_dictionaries(
            {"step": st.integers(0, 9)},
            optional={
                "valid": st.floats(allow_nan=False, allow_infinity=False),
                "x": st.integers() | st.text(),
            },
        )
    ),
    garbage=st.binary(max_size=9),
    step=st.integers(0, 9),
    evaluated=st.none() | st.integers(0, 9),
)
def test_what_is_kept_are_the_same_bytes_and_cutting_again_changes_nothing(
    lines: list[dict[str, Any]],
    garbage: bytes,
    step: int,
    evaluated: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    log = MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    log.path.touch()
    for line in lines:
        log.append(line)
    written = log.path.read_bytes().splitlines(keepends=True)
    assert log.read() == [json.loads(raw) for raw in written] == lines
    ends = {True: step if evaluated is None else evaluated, False: step}
    kept = [
        raw
        for raw, line in zip(written, lines, strict=True)
        if line["step"] <= ends["valid" in line]
    ]
    with log.path.open("ab") as file:
        file.write(garbage.replace(b"{", b"["))
    for _ in range(2):
        log.cut(step, evaluated)
        assert log.path.read_bytes() == b"".join(kept)


@pytest.mark.parametrize(
    ("line", "sound"),
    [
        ('{"step": 3}', True),
        ('{"step": 3, "seconds": 2.5, "valid": 1, "note": null}', True),
        ('{"step": 3, "seconds": 0}', True),
        ('{"seconds": 2.5}', False),
        ('{"step": -1}', False),
        ('{"step": true}', False),
        ('{"step": 3.0}', False),
        ('{"step": "3"}', False),
        *(
            (f'{{"step": 3, "{name}": {value}}}', False)
            for name in ("seconds", "valid", "loss")
            for value in (
                '"2.5"',
                "[]",
                "null",
                "{}",
                "true",
                "NaN",
                "Infinity",
                "-Infinity",
                "1e999",
            )
        ),
        ('{"step": 3, "seconds": -1}', False),
        ('{"step": 3, "seconds": 1e300}', False),
        (f'{{"step": 3, "valid": {"9" * 400}}}', False),
        ("[" * 100_000, False),
        ("[]", False),
        ("", False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_line_that_no_run_wrote_is_left_out_and_counted(
    line: str, sound: bool, log: MetricsLog
) -> None:
    log.path.write_text(f'{{"step": 1, "seconds": 1.5}}\n{line}\n{{"step": 4}}\n')
    assert [values["step"] for values in log.read()] == ([1, 3, 4] if sound else [1, 4])
    assert 1.5 <= log.seconds() < 1e10
    log.cut(4)
    assert log.damaged == (not sound)
    log.append({"step": 5, "seconds": log.seconds()})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"bytes"], ids=repr)
def test_what_is_no_json_is_not_written(value: object, log: MetricsLog) -> None:
    log.append({"step": 1})
    with pytest.raises((ValueError, TypeError)):
        log.append({"step": 2, "loss": value})
    assert log.read() == [{"step": 1}]


def test_a_log_that_cannot_be_read_is_named(
    log: MetricsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log.append({"step": 1})
    monkeypatch.setattr(Path, "open", fail)
    for act in (log.read, lambda: log.cut(1)):
        with pytest.raises(MachineError, match=r"Cannot read .*metrics\.jsonl: Input/output error"):
            act()


def test_syncing_reaches_the_disk_if_it_can_and_is_never_an_error(log: MetricsLog) -> None:
    log.sync()
    log.append({"step": 1})
    seen: list[str] = []
    with before_each_call(seen.append):
        log.sync()
    assert seen == ["fsync"]
    with before_each_call(failing_at(1, errno.EIO)):
        log.sync()
    assert log.read() == [{"step": 1}]


def test_a_log_is_read_on_by_whole_lines(log: MetricsLog) -> None:
    assert log.read_from(0) == ([], 0)
    log.append({"step": 1})
    lines, end = log.read_from(0)
    assert lines == [{"step": 1}]
    with log.path.open("a") as file:
        file.write('damaged\n{"step": 2}\n{"step":')
    lines, end = log.read_from(end)
    assert lines == [{"step": 2}]
    with log.path.open("a") as file:
        file.write(" 3}\n")
    assert log.read_from(end)[0] == [{"step": 3}]
