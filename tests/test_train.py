"""A training as one stream of events: begun, planned only, continued, begun again, and refused."""

import json
from collections import deque
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from io_faults import names
from small_runs import SETTINGS, TEXT, results

from charrnn.api import load
from charrnn.errors import InterruptedRun, MachineError, TextError, UsageError
from charrnn.training.events import (
    Evaluated,
    Finished,
    Note,
    Planned,
    RunEvent,
    Started,
    TextRead,
    Trained,
)
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import Throughput
from charrnn.training.train import training_events

STEPS = SETTINGS["steps"]


def asked(text: Path, out: Path, *, fresh: bool = False, **settings: Any) -> TrainRequest:
    return TrainRequest(texts=(str(text),), out=out, fresh=fresh, settings=SETTINGS | settings)


def kinds(events: list[RunEvent]) -> list[str]:
    """Return the names of events, with runs of equal ones as one."""
    return [name for name, _ in groupby(type(event).__name__ for event in events)]


def only(kind: type, events: list[RunEvent]) -> Any:
    """Return the one event of a kind."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


def interrupted(request: TrainRequest, step: int) -> list[RunEvent]:
    """Let a signal stop a training after a step; return what happened until then."""
    seen: list[RunEvent] = []

    def stop() -> int | None:
        return 15 if isinstance(seen[-1], Trained) and seen[-1].step == step else None

    with pytest.raises(InterruptedRun):
        deque(map(seen.append, training_events(request, should_stop=stop)))
    return seen


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunEvent]]:
    """A run from beginning to end, and its events; nobody may change it."""
    out = tmp_path_factory.mktemp("train") / "whole"
    return out, list(training_events(asked(text, out)))


def test_a_training_tells_what_happens_from_the_text_to_the_result(
    whole: tuple[Path, list[RunEvent]],
) -> None:
    out, events = whole
    between = ["Trained", "Busy", "Evaluated"] * 3  # after steps 5, 10 and 14
    assert kinds(events) == ["TextRead", "Planned", "Started", *between, "Saved", "Finished"]
    read = only(TextRead, events)
    assert (read.name, read.tokenizer, read.records) == ("animals", "char", 0)
    assert read.characters + read.valid_characters == len(TEXT)
    assert (read.vocab_size, read.unknown) == (load(out).tokenizer.size, 0)
    planned, started = only(Planned, events), only(Started, events)
    assert {name: getattr(planned.plan.train, name) for name in ("steps", "batch_size")} == {
        "steps": STEPS,
        "batch_size": SETTINGS["batch_size"],
    }
    assert (planned.estimate.device, planned.estimate.seconds) == ("cpu with 1 thread", None)
    assert planned.estimate.memory_bytes > 0
    assert (started.step, started.steps, started.tokens) == (0, STEPS, 0)
    assert started.characters_per_token == 1
    taken = [event for event in events if isinstance(event, Trained)]
    assert [event.step for event in taken] == list(range(1, STEPS + 1))
    summary = only(Finished, events).summary
    best = min(
        (event for event in events if isinstance(event, Evaluated)),
        key=lambda event: event.score.nats_per_token,
    )
    assert (summary["out"], summary["step"], summary["best_step"]) == (str(out), STEPS, best.step)
    assert summary["valid_nats_per_token"] == best.score.nats_per_token
    assert summary["tokens"] == taken[-1].tokens
    json.dumps(summary, allow_nan=False)


def test_it_is_what_the_command_does(whole: tuple[Path, list[RunEvent]], model: Path) -> None:
    assert results(whole[0]) == results(model)


def test_without_a_folder_the_run_is_named_after_the_text(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = TrainRequest(texts=(str(text),), settings=SETTINGS | {"steps": 1})
    *_, finished = training_events(request)
    assert isinstance(finished, Finished)
    assert finished.summary["out"] == str(Path("checkpoints") / "animals")
    assert (tmp_path / "checkpoints" / "animals" / "model.safetensors").exists()


def test_the_reading_is_told_as_it_goes_on(text: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    request = asked(text, tmp_path / "run", steps=1)
    list(training_events(request, on_progress=lambda *progress: told.append(progress)))
    labels = dict.fromkeys(what.split()[0] for what, _, _ in told)
    assert list(labels) == ["Reading", "Learning", "Encoding"]
    assert all(done == total == len(TEXT) for _, done, total in told)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a step takes a tenth of a second."""
    measure = "charrnn.training.planner.measure_throughput"
    monkeypatch.setattr(measure, lambda *_, **__: Throughput(0.1, 0.1))


@pytest.mark.usefixtures("measured")
def test_a_plan_alone_writes_nothing(text: Path, tmp_path: Path) -> None:
    events = list(training_events(asked(text, tmp_path / "run"), plan_only=True))
    assert kinds(events) == ["TextRead", "Busy", "Planned"]
    assert only(Planned, events).estimate.seconds == pytest.approx(STEPS * 0.1 + 3 * 0.1)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_plan_alone_is_of_a_new_run_whatever_is_there(
    fresh: bool, text: Path, whole: tuple[Path, list[RunEvent]]
) -> None:
    out, events = whole
    before, neighbours = results(out), names(out.parent)
    request = asked(text, out, fresh=fresh, steps=20)
    planned = list(training_events(request, plan_only=True))
    assert kinds(planned) == ["TextRead", "Busy", "Planned"]
    assert only(TextRead, planned) == only(TextRead, events)
    assert only(Planned, planned).plan.train.steps == 20
    assert (results(out), names(out.parent)) == (before, neighbours)


def test_the_same_again_continues_where_the_run_was_stopped(
    text: Path, tmp_path: Path, whole: tuple[Path, list[RunEvent]]
) -> None:
    request = asked(text, tmp_path / "run")
    first = interrupted(request, 3)
    assert kinds(first) == ["TextRead", "Planned", "Started", "Trained"]
    events = list(training_events(request))
    between = ["Trained", "Busy", "Evaluated"] * 3
    assert kinds(events) == [
        "TextRead",
        "Note",
        "Planned",
        "Started",
        *between,
        "Saved",
        "Finished",
    ]
    told = f"Continuing the run in {tmp_path / 'run'} from step 3."
    assert only(Note, events) == Note(told)
    assert only(Planned, events).plan == only(Planned, first).plan
    assert only(Planned, events).estimate.memory_bytes is None
    started, last = only(Started, events), first[-1]
    assert isinstance(last, Trained)
    assert (started.step, started.steps, started.tokens) == (3, STEPS, last.tokens)
    assert results(tmp_path / "run") == results(whole[0])


def test_a_complete_run_is_not_trained_again(
    text: Path, whole: tuple[Path, list[RunEvent]]
) -> None:
    out, before = whole
    files = results(out)
    events = list(training_events(asked(text, out)))
    assert kinds(events) == ["TextRead", "Note", "Finished"]
    assert only(Note, events).text == (
        "This run is already complete, at step 14. A longer `seconds`, `steps` or `epochs` trains "
        "it further; `fresh` starts again."
    )
    known = ("valid_nats_per_token", "best_step", "tokens", "step", "parameters")
    now, then = only(Finished, events).summary, only(Finished, before).summary
    assert {name: now[name] for name in known} == {name: then[name] for name in known}
    assert results(out) == files


def test_a_damaged_state_is_a_warning(text: Path, tmp_path: Path) -> None:
    request = asked(text, tmp_path, save_every=2)
    interrupted(request, 5)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    warning, going_on = (event for event in training_events(request) if isinstance(event, Note))
    assert warning.warning
    assert "last.safetensors" in warning.text
    assert warning.text.endswith("Using the state saved before it.")
    assert going_on == Note(f"Continuing the run in {tmp_path} from step 4.")


def test_fresh_moves_a_run_aside_and_starts_again(
    text: Path, tmp_path: Path, whole: tuple[Path, list[RunEvent]]
) -> None:
    out, old = tmp_path / "run", tmp_path / "run.old-1"
    interrupted(asked(text, out, lr=0.5), 6)
    before = (out / "last.safetensors").read_bytes()
    events = list(training_events(asked(text, out, fresh=True)))
    assert only(Note, events) == Note(f"The run that was in {out} is now in {old}.")
    assert kinds(events)[:4] == ["Note", "TextRead", "Planned", "Started"]
    assert only(Started, events).step == 0
    assert (old / "last.safetensors").read_bytes() == before
    assert results(out) == results(whole[0])


def test_fresh_where_nothing_is_tells_nothing(text: Path, tmp_path: Path) -> None:
    events = list(training_events(asked(text, tmp_path / "run", fresh=True, steps=1)))
    assert not any(isinstance(event, Note) for event in events)
    assert names(tmp_path) == ["run"]


def test_a_model_to_start_from_gives_its_vocabulary_and_the_text_adds_to_it(
    text: Path, tmp_path: Path, whole: tuple[Path, list[RunEvent]]
) -> None:
    (tmp_path / "more.txt").write_text("Zeus. " * 10 + TEXT, encoding="utf-8")
    request = TrainRequest(
        texts=(str(tmp_path / "more.txt"),),
        out=tmp_path / "run",
        init_from=whole[0],
        settings=SETTINGS | {"steps": 1},
    )
    events = list(training_events(request))
    added = set("Zeus. ") - set(TEXT)
    note = only(Note, events).text
    assert note.startswith("New to the model, added to its vocabulary: ")
    assert all(repr(character) in note for character in added)
    assert only(TextRead, events).vocab_size == load(whole[0]).tokenizer.size + len(added)


def test_one_training_at_a_time_writes_in_a_folder(text: Path, tmp_path: Path) -> None:
    request = asked(text, tmp_path)
    events = training_events(request)
    while not isinstance(next(events), Trained):
        pass
    with pytest.raises(MachineError):
        next(training_events(request))
    events.close()  # which gives the folder back
    *_, finished = training_events(request)
    assert isinstance(finished, Finished)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text, out: asked(text, out, lr=0.5), UsageError, "with other options"),
        (lambda text, out: asked(out / "config.json", out), TextError, "has changed since"),
        (lambda text, out: asked(out / "none.txt", out), TextError, "none.txt"),
    ],
    ids=["options", "text", "no text"],
)
def test_what_does_not_go_with_the_run_is_refused(
    change: Callable[[Path, Path], TrainRequest],
    error: type[Exception],
    message: str,
    text: Path,
    whole: tuple[Path, list[RunEvent]],
) -> None:
    before = results(whole[0])
    with pytest.raises(error, match=message):
        list(training_events(change(text, whole[0])))
    assert results(whole[0]) == before
