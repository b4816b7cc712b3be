"""A run whose budget is time, on a machine whose speed was measured wrongly or changes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from small import SETTINGS, session_in

from charrnn.config.presets import suitable_dropout
from charrnn.model.dropout import Dropout
from charrnn.model.shapes import parameter_count
from charrnn.storage.container import load
from charrnn.training.run import Rescheduled, Session
from charrnn.training.trainer import Trained


@dataclass
class Clock:
    """Time that passes only while steps are taken."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def slow(self, session: Session, seconds: float) -> None:
        """Let each step of a session take so long."""
        real = session.trainer.train_once

        def train_once() -> Trained:
            self.now += seconds
            return real()

        session.trainer.train_once = train_once  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("pace", "most", "expected"),
    [(0.1, 10_000, 100), (0.2, 10_000, 50), (0.4, 10_000, 25), (0.1, 70, 70)],
)
@pytest.mark.parametrize("eval_every", [5, 1000])
def test_a_run_whose_budget_is_time_takes_the_steps_that_it_can(
    eval_every: int,
    pace: float,
    most: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was planned for 50 steps of 0.2 seconds; the last second is to save and to leave."""
    clock = Clock()
    monkeypatch.setattr("charrnn.training.run.time", clock)
    with session_in(tmp_path, steps=50, eval_every=eval_every) as session:
        session.plan = replace(session.plan, deadline=clock.now + 11, most_steps=most)
        clock.slow(session, pace)
        events = list(session.run())
        lrs = [event.lr for event in events if isinstance(event, Trained)]
    assert session.trainer.progress.step == pytest.approx(expected, rel=0.05)
    assert lrs[-1] == pytest.approx(session.plan.train.lr * session.plan.train.lr_floor, rel=0.1)
    changes = [event.steps for event in events if isinstance(event, Rescheduled)]
    assert bool(changes) == (expected != 50)
    facts, config = (
        load(tmp_path / "last.safetensors")[1],
        json.loads((tmp_path / "config.json").read_bytes()),
    )
    assert facts["train"]["steps"] == config["steps"] == session.trainer.progress.step
    assert facts["epochs"] == pytest.approx(session.plan.epochs)
    suitable = suitable_dropout(
        session.plan.epochs, parameter_count(session.plan.model), len(session.data.train.ids)
    )
    assert facts["model"]["dropout"] == config["dropout"] == suitable
    assert {module.share for module in session.model.modules() if isinstance(module, Dropout)} == {
        suitable
    }


def test_time_is_kept_for_the_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 seconds, 10 are to evaluate and to leave: 50 steps of 0.2."""
    clock = Clock()
    monkeypatch.setattr("charrnn.training.run.time", clock)
    with session_in(tmp_path, steps=80, eval_every=1000) as session:
        session.plan = replace(session.plan, deadline=clock.now + 20, ending=10.0, most_steps=1000)
        clock.slow(session, 0.2)
        list(session.run())
    assert session.trainer.progress.step == pytest.approx(50, abs=2)


def test_a_run_that_is_continued_keeps_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("charrnn.training.run.time", clock)
    with session_in(tmp_path) as session:
        session.plan = replace(session.plan, deadline=clock.now + 1000, most_steps=1 << 40)
    with session_in(tmp_path) as session:
        events = list(session.run())
    assert session.trainer.progress.step == SETTINGS["steps"]
    assert not any(isinstance(event, Rescheduled) for event in events)
