"""Event files, read by TensorBoard's own reader."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_runs
from command_line import Terminal
from small_runs import OPTIONS, TEXT

from charrnn.errors import InterruptedRun
from charrnn.export import tensorboard as own
from charrnn.export.tensorboard import with_event_file
from charrnn.storage.run_folder import RunFolder
from charrnn.training.events import Note, RunEvent


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of the event files in a folder, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    values = {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in tags["scalars"]}
    texts = {
        tag: [(one.step, one.tensor_proto.string_val[0].decode()) for one in found.Tensors(tag)]
        for tag in tags["tensors"]
    }
    return values | texts  # type: ignore[return-value]


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the same from the run's own logs."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        for name, tag in own.SCALARS.items():
            if name in line:
                found.setdefault(tag, []).append((line["step"], pytest.approx(line[name])))
    samples = folder / "samples.jsonl"
    for line in map(json.loads, samples.read_text().splitlines() if samples.exists() else ()):
        text = "".join(f"    {one}\n" for one in line["text"].split("\n"))
        found.setdefault("sample", []).append((line["step"], text))
    return found


def train(path: Path, stop_after: int = 1000) -> list[RunEvent]:
    steps = iter(range(10_000))
    with small_runs.run_in(path, page=True, sample_every=4) as run:
        should_stop = lambda: 2 if next(steps) == stop_after else None  # noqa: E731
        return list(with_event_file(run.train(should_stop)))


def test_tensorboard_reads_what_the_run_logged(tmp_path: Path) -> None:
    train(tmp_path / "run")
    found = scalars(tmp_path / "run")
    assert found == logged(tmp_path / "run")
    assert {"loss/train", "loss/valid", "lr", "grad_norm", "sample"} <= found.keys()


def test_after_any_number_of_resumes_no_step_is_there_twice(tmp_path: Path) -> None:
    for stop_after in (3, 2, 5):
        with pytest.raises(InterruptedRun):
            train(tmp_path / "parts", stop_after)
    train(tmp_path / "parts")
    train(tmp_path / "whole")
    assert len(list((tmp_path / "parts").glob("events*"))) == 1
    assert scalars(tmp_path / "parts") == logged(tmp_path / "parts")
    parts, whole = logged(tmp_path / "parts"), scalars(tmp_path / "whole")
    assert {tag: [step for step, _ in values] for tag, values in parts.items()} == {
        tag: [step for step, _ in values] for tag, values in whole.items()
    }


def test_the_events_of_a_killed_run_are_taken_back_with_its_steps(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun):
        train(tmp_path, 6)
    with (tmp_path / "metrics.jsonl").open("a") as file:  # logged, but not saved
        file.write('{"step": 13, "loss": 9.0, "lr": 1, "grad_norm": 1, "tokens": 1}\n')
    own.EventLog(RunFolder(tmp_path), tmp_path)
    assert 13 in [step for step, _ in scalars(tmp_path)["loss/train"]]
    train(tmp_path)
    assert scalars(tmp_path) == logged(tmp_path)
    assert 9.0 not in [value for _, value in scalars(tmp_path)["loss/train"]]


def test_from_the_command_line(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    run = tmp_path / "run"
    charrnn.ok("train", text, "--out", run, "--quiet", "--tensorboard", *OPTIONS)
    assert scalars(run) == logged(run)
    outcome = charrnn.ok("export", run, "--tensorboard", tmp_path / "board")
    assert "board" in outcome.err
    assert scalars(tmp_path / "board") == scalars(run)
    assert charrnn("export", tmp_path, "--tensorboard", tmp_path / "board").code == 5


def test_a_disk_that_is_full_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise own.MachineError("The disk is full.")

    monkeypatch.setattr(own.EventLog, "update", refuse)
    events = train(tmp_path)
    (note,) = (one for one in events if isinstance(one, Note))
    assert note.warning
    assert "The disk is full." in note.text


def test_varints_and_checksums_are_those_of_the_formats() -> None:
    assert own.varint(0) == b"\0"
    assert own.varint(300) == b"\xac\x02"  # the example of the protocol buffers' documentation
    crc = int.from_bytes(own.masked_crc(b"123456789"), "little")
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == 0xE3069283  # RFC 3720, of CRC-32C


def test_any_text_can_be_a_sample(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    sample = TEXT + "\0\u202e# not a heading\n你好"
    (tmp_path / "samples.jsonl").write_text(json.dumps({"step": 1, "text": sample}) + "\n")
    own.write_event_file(RunFolder(tmp_path), tmp_path)
    assert scalars(tmp_path) == logged(tmp_path)
