"""Members and a student: several runs of one command, which can be interrupted anywhere."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Terminal
from small_runs import OPTIONS, RUN_FILES, SETTINGS, TEXT, arguments, results, weights

from charrnn.api import train
from charrnn.config.model import ModelConfig
from charrnn.config.presets import MEMBERS, MEMBERS_PAY, PRESETS, STUDENT_SHARE
from charrnn.config.training import TrainConfig
from charrnn.errors import InterruptedRun, ModelFileError, UsageError
from charrnn.storage.model_file import load_model
from charrnn.training import members as members_of
from charrnn.training.events import Finished, Part, RunEvent, Started, TextRead, Trained
from charrnn.training.members import SEEDS_APART, Members
from charrnn.training.plan import Estimate, Plan
from charrnn.training.planning import PlannedRun, members_that_pay
from charrnn.training.request import TrainRequest

FEW = SETTINGS | {"steps": 6, "eval_every": 3, "save_every": 2, "dropout": 0.2}
COUNT = 2


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "animals.txt"
    path.write_text(TEXT)
    return path


def events_of(text: Path, out: Path, **given: Any) -> Iterator[RunEvent]:
    return train(text, out=out, **FEW | {"members": COUNT} | given)


def follow(events: Iterator[RunEvent], seen: list[RunEvent]) -> None:
    """Add each event to a list as it comes."""
    for event in events:
        seen.append(event)


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunEvent]]:
    """Return what a command that was never interrupted leaves and says; it keeps the members."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, list(events_of(text, out, keep_members=True))


def test_members_differ_in_their_seed_and_the_student_learns_from_all(
    whole: tuple[Path, list[RunEvent]], text: Path, tmp_path: Path
) -> None:
    out, events = whole
    for number in (1, 2):
        list(train(text, out=tmp_path / str(number), **FEW | {"seed": 1 + number * SEEDS_APART}))
        alone, member = weights(tmp_path / str(number)), weights(out / "members" / str(number))
        assert all(np.array_equal(value, member[name]) for name, value in alone.items())
    teacher = f"{tmp_path / '1'}+{tmp_path / '2'}"
    list(train(text, out=tmp_path / "student", teacher=teacher, **FEW))
    alone, student = weights(tmp_path / "student"), weights(out)
    assert all(np.array_equal(value, student[name]) for name, value in alone.items())
    known = [load_model(out / "members" / number).sha256 for number in ("1", "2")]
    assert load_model(out).about["teachers"] == known
    parts = [event.name for event in events if isinstance(event, Part)]
    assert parts == ["member 1 of 2", "member 2 of 2", "student"]
    assert sum(isinstance(event, TextRead) for event in events) == 1
    assert {event.folder for event in events if isinstance(event, Started)} == {str(out)}
    assert [event for event in events if isinstance(event, Finished)] == events[-1:]


STOPS = [  # after how many events a command is killed, and the same one given again
    [1],
    [4, 4, 9],
    [12, 20],
    [25, 1, 2, 3],
    [30, 10],
    [50],
    [3, 5, 7, 9, 11, 13],
]


@pytest.mark.parametrize("stops", STOPS, ids=str)
def test_whenever_it_is_killed_it_ends_with_the_same_files(
    stops: list[int], whole: tuple[Path, list[RunEvent]], text: Path, tmp_path: Path
) -> None:
    for count in stops:
        events = events_of(text, tmp_path / "run")
        taken = [event for event, _ in zip(events, range(count), strict=False)]
        assert len(taken) == count
        events.close()  # type: ignore[attr-defined]
    list(events_of(text, tmp_path / "run"))
    assert results(tmp_path / "run") == results(whole[0])
    assert {path.name for path in (tmp_path / "run").iterdir()} == RUN_FILES


@pytest.mark.parametrize("where", ["member 1 of 2", "member 2 of 2", "student"])
def test_it_is_stopped_by_a_signal_and_continued_by_its_folder(
    where: str,
    whole: tuple[Path, list[RunEvent]],
    text: Path,
    tmp_path: Path,
    charrnn: Terminal,
) -> None:
    seen = list[RunEvent]()

    def signal() -> int:
        part = next((one.name for one in reversed(seen) if isinstance(one, Part)), "")
        return 2 if part == where and isinstance(seen[-1], Trained) else 0

    with pytest.raises(InterruptedRun, match="Stopped and saved at step 1"):
        follow(events_of(text, tmp_path / "run", should_stop=signal), seen)
    result = charrnn.ok("train", "--resume", tmp_path / "run")
    assert f"--- {where} ---" in result.err
    assert results(tmp_path / "run") == results(whole[0])
    again = charrnn.ok("train", "--resume", tmp_path / "run")
    assert "already complete, at step 6" in again.err


def test_a_signal_between_two_runs_is_obeyed(text: Path, tmp_path: Path) -> None:
    seen = list[RunEvent]()

    def signal() -> int:
        return 15 if seen and "Member 1" in getattr(seen[-1], "text", "") else 0

    with pytest.raises(InterruptedRun, match=r"Stopped after member 1 of 2\.") as caught:
        follow(events_of(text, tmp_path / "run", should_stop=signal), seen)
    assert caught.value.exit_code == 128 + 15
    with pytest.raises(ModelFileError, match="has not saved a model") as missing:
        load_model(tmp_path / "run")
    assert missing.value.hint.endswith(f"name {tmp_path / 'run' / 'members' / '1'}.")


def test_members_that_are_kept_let_the_run_be_extended(
    whole: tuple[Path, list[RunEvent]], text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    before = (tmp_path / "run" / "members" / "1" / "last.safetensors").read_bytes()
    charrnn.ok("train", "--resume", tmp_path / "run", "--steps", "8")
    events = list(events_of(text, tmp_path / "run", steps=9))
    assert [event.step for event in events if isinstance(event, Trained)] == [9]
    assert (tmp_path / "run" / "members" / "1" / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize("by", ["--resume", "text"])
def test_without_its_members_a_run_that_is_to_be_longer_is_one_line(
    by: str, text: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    list(events_of(text, tmp_path / "run"))
    given = FEW | {"members": COUNT, "steps": 9}
    same = [str(text), *arguments(**given), "--out", str(tmp_path / "run")]
    longer = ["--resume", tmp_path / "run", "--steps", "9"] if by == "--resume" else same
    result = charrnn("train", *longer)
    assert (result.code, "--keep-members" in result.err) == (2, True), result.err


def test_other_options_are_refused_and_start_again_with_fresh(text: Path, tmp_path: Path) -> None:
    for event in events_of(text, tmp_path / "run"):
        if isinstance(event, Part) and event.name == "member 2 of 2":
            break
    for other in ({"members": 3}, {"dropout": 0.5}):
        with pytest.raises(UsageError, match="run was started with other options: `"):
            list(events_of(text, tmp_path / "run", **other))
    *_, last = events_of(text, tmp_path / "run", fresh=True, dropout=0.5)
    assert isinstance(last, Finished)
    assert (tmp_path / "run.old-1" / "members" / "1" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--members", "0"], "--members must be at least 1"),
        (["--members", "2", "--teacher", "x"], "--members are a --teacher already"),
        (["--members", "2", "--init-from", "x"], "--members cannot be used with --init-from"),
        (["-", "--members", "2"], "--members need a text that can be read several times"),
    ],
)
def test_bad_input(options: list[str], message: str, charrnn: Terminal, text: Path) -> None:
    result = charrnn("train", text, *options)
    assert (result.code, message in result.err) == (2, True), result.err


def test_the_time_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one run leaves over is for those after it; time used by an earlier command counts."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    request = TrainRequest(texts=("text",), out=tmp_path, seconds=100.0, members=3)
    members, each = Members(tmp_path, request, 3), (1 - STUDENT_SHARE) / 3
    assert members.member(1, 1000.0).budget == pytest.approx(100 * each)
    now[0] += 100 * each
    assert members.member(2, 1000.0).budget == pytest.approx(100 * each)
    more = 100 * (1 - each)  # the second one was complete at once
    assert members.member(3, 1000.0).budget == pytest.approx(more * each / (each + STUDENT_SHARE))
    now[0] = 1090.0
    assert members.student(1000.0).budget == pytest.approx(10)
    now[0] = 5000.0
    assert 0 < members.student(1000.0).budget < 5
    folder = members.folder(1)
    folder.path.mkdir(parents=True)
    folder.metrics.append({"step": 1, "loss": 1.0, "seconds": 70.0})
    assert members.student(5000.0).budget == pytest.approx(30)


def test_the_preset_uses_members_where_a_single_model_takes_little_of_its_time() -> None:
    def chosen(needed: float | None, **given: Any) -> int:
        request = TrainRequest(texts=("text",), **given)
        plan = Plan(model=ModelConfig(), train=TrainConfig(), precision="fp32", epochs=1.0)
        return members_that_pay(request, PlannedRun(plan, Estimate("cpu", 1, needed)))

    short = PRESETS["best"].seconds / MEMBERS_PAY - 1
    assert chosen(short, preset="best") == MEMBERS
    assert chosen(short + 2, preset="best") == 0
    assert chosen(short, preset="best", members=1) == 0
    assert chosen(short + 2, preset="best", members=5) == 5
    assert chosen(short, preset="best", seconds=1560.0) == 0
    assert chosen(short, preset="best", init_from=Path("x")) == 0
    assert chosen(short, preset="best", teacher="x") == 0
    assert chosen(short, preset="best", settings={"steps": 5}) == 0
    assert chosen(short, preset="best", settings={"source": "label"}) == MEMBERS
    assert chosen(short, preset="standard") == 0
    assert chosen(None) == 0


def test_a_dry_run_tells_of_members(text: Path, tmp_path: Path, charrnn: Terminal) -> None:
    words = [text, *OPTIONS, "--members", "3", "--out", tmp_path / "run"]
    shown = charrnn.ok("train", *words, "--dry-run").out
    assert "3, and a student of them" in shown
    assert not (tmp_path / "run").exists()
    told = json.loads(charrnn.ok("train", *words, "--dry-run", "--json").out)
    alone = json.loads(charrnn.ok("train", *words[:-4], *words[-2:], "--dry-run", "--json").out)
    assert told["members"] == 3
    numbers = alone["parameters"] + alone["table_parameters"]
    assert told["memory_bytes"] == alone["memory_bytes"] + 3 * 2 * 4 * numbers


def test_what_was_being_removed_is_removed_by_the_next_command(
    whole: tuple[Path, list[RunEvent]], text: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "members").rename(tmp_path / "run" / members_of.REMOVED)
    list(events_of(text, tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == RUN_FILES


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"members": 1000000}', '{"members": 2, "request": 3}', "deleted"]
)
def test_a_damaged_record_of_the_members_costs_nothing(
    damage: str, whole: tuple[Path, list[RunEvent]], text: Path, tmp_path: Path
) -> None:
    """The command plans anew, and then finds the members that are there."""
    for event in events_of(text, tmp_path / "run"):
        if isinstance(event, Part) and event.name == "student":
            break
    record = tmp_path / "run" / "members" / "run.json"
    record.unlink() if damage == "deleted" else record.write_text(damage)
    taken = [event for event in events_of(text, tmp_path / "run") if isinstance(event, Trained)]
    assert len(taken) == FEW["steps"]
    assert results(tmp_path / "run") == results(whole[0])
