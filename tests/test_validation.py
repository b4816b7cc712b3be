"""A run that is stopped anywhere, validations included, ends as one that was never stopped."""

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from small_runs import results, run, run_in

from charrnn.errors import InterruptedRun
from charrnn.evaluation import scoring
from charrnn.training.events import Evaluated
from charrnn.training.validation import remembered

SETTINGS = {"steps": 9, "eval_every": 3, "dropout": 0.2, "log_every": 1}


@pytest.fixture(autouse=True)
def many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a validation take several calls of the model."""
    monkeypatch.setattr(scoring, "MAX_STEPS", 16)


def stopping_at(number: int) -> Callable[[], int | None]:
    """Return a function that asks once to stop, when it is called for the `number`-th time."""
    calls = iter(range(1, 1 << 30))
    return lambda: signal.SIGTERM if next(calls) == number else None


def calls_of_a_run(path: Path, **settings: object) -> int:
    """Train to the end, and return how often the run asked whether to stop."""
    asked = list[None]()
    run(path, should_stop=lambda: asked.append(None), **settings)
    return len(asked)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batcher": "random", "cell": "gru"},
        {"patience": 1, "lr": 1.0},
        {"valid_tokens": 20, "ngram_embedding": 3, "ngram_rows": 30},
        pytest.param({"optimizer": "adamw", "bptt": "random"}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "default",
)
def test_stopped_at_each_call_and_continued(
    settings: dict[str, object], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    chosen = SETTINGS | settings
    calls = calls_of_a_run(tmp_path / "whole", **chosen)
    expected = results(tmp_path / "whole")
    assert calls > 15  # several for each validation
    for number in range(1, calls + 1, 1 if pytestconfig.getoption("--slow") else 4):
        folder = tmp_path / f"run-{number}"
        with suppress(InterruptedRun):
            run(folder, should_stop=stopping_at(number), **chosen)
        run(folder, **chosen)
        assert results(folder) == expected


def test_stopped_again_and_again_within_the_last_validation(tmp_path: Path) -> None:
    calls = calls_of_a_run(tmp_path / "whole", **SETTINGS)
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRun, match="Stopped and saved at step 9"):
        run(folder, should_stop=stopping_at(calls - 3), **SETTINGS)
    for number in (1, 2, 3):
        with run_in(folder, **SETTINGS) as stopped:
            assert not stopped.trainer.finished
            assert stopped.trainer.progress.evaluated_step == 6
            with pytest.raises(InterruptedRun):
                list(stopped.train(stopping_at(number)))
    events = run(folder, **SETTINGS)
    assert [event.step for event in events if isinstance(event, Evaluated)] == [9]
    assert results(folder) == results(tmp_path / "whole")


def test_a_validation_that_is_given_up_leaves_the_trainer_as_it_was(tmp_path: Path) -> None:
    with run_in(tmp_path, **SETTINGS) as one:
        trainer = one.trainer
        for _ in range(3):
            trainer.train_once()
        before = {name: value.tobytes() for name, value in trainer.state()[0].items()}
        for number in (1, 2):
            assert trainer.evaluate(remembered(stopping_at(number))) is None
            assert trainer.evaluation_due
            assert trainer.model.training
            after = {name: value.tobytes() for name, value in trainer.state()[0].items()}
            assert after == before
        assert trainer.evaluate() is not None


def test_a_signal_is_remembered() -> None:
    ask = remembered(stopping_at(2))
    assert [ask() for _ in range(4)] == [None, 15, 15, 15]
