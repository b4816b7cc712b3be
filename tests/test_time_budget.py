"""A run whose budget is time, on a machine whose speed was measured wrongly or changes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_runs import SETTINGS, run_in

from charrnn.config.presets import suitable_dropout, suitable_ngram_dropout
from charrnn.model.dropout import Dropout
from charrnn.model.shapes import parameter_count
from charrnn.storage.container import load
from charrnn.training.events import Rescheduled, Trained
from charrnn.training.run import Run
from charrnn.training.time_budget import SECONDS_TO_SAVE, TimeBudget


@dataclass
class Clock:
    """Time that passes only while steps are taken."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def slow(self, run: Run, seconds: Callable[[int], float] | float) -> None:
        """Let each step of a run take so long; that may depend on the steps taken."""
        real = run.trainer.train_once

        def train_once() -> Trained:
            step = run.trainer.progress.step
            self.now += seconds(step) if callable(seconds) else seconds
            return real()

        run.trainer.train_once = train_once  # type: ignore[method-assign]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("run", "time_budget"):
        monkeypatch.setattr(f"charrnn.training.{module}.time", clock)
    return clock


@pytest.mark.parametrize(
    ("pace", "most", "expected"),
    [(0.1, 10_000, 100), (0.2, 10_000, 50), (0.4, 10_000, 25), (0.1, 70, 70)],
)
@pytest.mark.parametrize("eval_every", [5, 1000])
def test_a_run_whose_budget_is_time_takes_the_steps_that_it_can(
    eval_every: int, pace: float, most: int, expected: int, tmp_path: Path, clock: Clock
) -> None:
    """It was planned for 50 steps of 0.2 seconds; the last second is to save and to leave."""
    with run_in(tmp_path, steps=50, eval_every=eval_every) as one:
        one.budget = TimeBudget(clock.now + 10 + SECONDS_TO_SAVE, most, evaluation=0.0)
        clock.slow(one, pace)
        events = list(one.train())
        lrs = [event.lr for event in events if isinstance(event, Trained)]
    assert one.trainer.progress.step == pytest.approx(expected, rel=0.05)
    steps = one.trainer.progress.step
    warmup = max(1, round(0.03 * steps))
    assert lrs[-1] == pytest.approx(one.plan.train.lr / (steps - warmup))
    changes = [event.steps for event in events if isinstance(event, Rescheduled)]
    assert bool(changes) == (expected != 50)
    facts, config = (
        load(tmp_path / "last.safetensors")[1],
        json.loads((tmp_path / "config.json").read_bytes()),
    )
    assert facts["train"]["steps"] == config["steps"] == one.trainer.progress.step
    assert facts["epochs"] == pytest.approx(one.plan.epochs)
    suitable = suitable_dropout(
        one.plan.epochs, parameter_count(one.plan.model), len(one.data.train.ids)
    )
    assert facts["model"]["dropout"] == config["dropout"] == suitable
    model = one.trainer.model
    assert {
        module.probability for module in model.layers.modules() if isinstance(module, Dropout)
    } == {suitable}
    assert model.ngrams is not None
    assert model.ngrams.dropout.probability == suitable_ngram_dropout(one.plan.epochs)


def test_a_speed_that_swings_changes_the_steps_at_most_once(tmp_path: Path, clock: Clock) -> None:
    """Other programs take half of the machine every few seconds; the mean is as planned."""
    with run_in(tmp_path, steps=100, eval_every=1000) as one:
        ends = clock.now + 20 + SECONDS_TO_SAVE
        one.budget = TimeBudget(ends, 10_000, evaluation=0.0)
        clock.slow(one, lambda step: 0.15 if step // 10 % 2 else 0.25)
        events = list(one.train())
    assert sum(isinstance(event, Rescheduled) for event in events) <= 1
    assert clock.now == pytest.approx(ends, abs=2)


def test_a_machine_that_becomes_slower_for_good_is_noticed(tmp_path: Path, clock: Clock) -> None:
    with run_in(tmp_path, steps=100, eval_every=1000) as one:
        ends = clock.now + 20 + SECONDS_TO_SAVE
        one.budget = TimeBudget(ends, 10_000, evaluation=0.0)
        clock.slow(one, lambda step: 0.2 if step < 30 else 0.4)
        events = list(one.train())
    assert any(isinstance(event, Rescheduled) for event in events)
    assert clock.now == pytest.approx(ends, abs=2)
    assert one.trainer.progress.step == pytest.approx(65, abs=5)


def test_time_is_kept_for_the_last_evaluation(tmp_path: Path, clock: Clock) -> None:
    """Of 20 seconds, 10 are to evaluate and to leave: 50 steps of 0.2."""
    with run_in(tmp_path, steps=80, eval_every=1000) as one:
        one.budget = TimeBudget(clock.now + 20, 1000, evaluation=10 - SECONDS_TO_SAVE)
        clock.slow(one, 0.2)
        list(one.train())
    assert one.trainer.progress.step == pytest.approx(50, abs=2)


def test_time_is_kept_to_write_large_files(tmp_path: Path, clock: Clock) -> None:
    """Writing the model took 3 seconds; at the end, model and state take three times that."""
    with run_in(tmp_path, steps=100, eval_every=1000) as one:
        one.budget = TimeBudget(clock.now + 29, 1000, evaluation=0.0)
        one.best.seconds = 3.0
        clock.slow(one, 0.2)
        list(one.train())
    assert one.trainer.progress.step == pytest.approx(100, abs=2)


def test_time_that_passed_before_the_first_step_says_nothing_of_the_pace(
    tmp_path: Path, clock: Clock
) -> None:
    with run_in(tmp_path, steps=50) as one:
        one.budget = TimeBudget(clock.now + 40 + SECONDS_TO_SAVE, 1000, evaluation=0.0)
        clock.now += 30  # as if the text took that long
        clock.slow(one, 0.2)
        events = list(one.train())
    assert not any(isinstance(event, Rescheduled) for event in events)


def test_with_a_curriculum_the_steps_stay_as_they_are(tmp_path: Path, clock: Clock) -> None:
    """For its short sequences come first."""
    with run_in(tmp_path, steps=20, seq_len_start=2) as one:
        one.budget = TimeBudget(clock.now + 1000, 1000, evaluation=0.0)
        clock.slow(one, 0.2)
        events = list(one.train())
    assert not any(isinstance(event, Rescheduled) for event in events)


def test_a_run_that_is_continued_keeps_its_steps(tmp_path: Path, clock: Clock) -> None:
    with run_in(tmp_path) as one:
        one.budget = TimeBudget(clock.now + 1000, 1 << 40, evaluation=0.0)
    with run_in(tmp_path) as one:
        assert one.budget is None
        events = list(one.train())
    assert one.trainer.progress.step == SETTINGS["steps"]
    assert not any(isinstance(event, Rescheduled) for event in events)
