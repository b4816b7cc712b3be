import errno
import json
import math
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SETTINGS, TEXT, results, run, run_in, weights
from torch.nn import functional

from charrnn.api import load
from charrnn.config.cells import CELLS
from charrnn.config.training import BATCHERS, OPTIMIZERS
from charrnn.errors import (
    DivergedError,
    InterruptedRun,
    MachineError,
    ModelFileError,
    TextError,
    UsageError,
)
from charrnn.storage import atomic, container
from charrnn.training.events import (
    Evaluated,
    Finished,
    Sampled,
    Saved,
    SaveFailed,
    Started,
    Trained,
)

STEPS, SEQ_LEN = SETTINGS["steps"], SETTINGS["seq_len"]
STREAM = int(len(TEXT) * 0.9) // SETTINGS["batch_size"]
EPOCH = math.ceil(STREAM / SEQ_LEN)  # steps
# 11 is an epoch's last step, 12 the first of the next; evaluations follow steps 5, 10 and 14
FIRST, MIDDLE, EVALUATED, EDGE, BEFORE_LAST = 1, 3, 5, 11, 13

AVERAGING = tuple(name for name in OPTIMIZERS if name != "sgd")
# Each cell with both batchers and both optimizers, and those with each other.
PAIRS = [
    (cell, batcher, optimizer)
    for number, cell in enumerate(CELLS)
    for batcher, optimizer in zip(BATCHERS, AVERAGING[:: 1 if number % 2 else -1], strict=True)
]
VARIANTS: dict[str, dict[str, Any]] = {
    **{
        f"{cell} {batcher} {optimizer}": {
            "cell": cell,
            "batcher": batcher,
            "optimizer": optimizer,
            "dropout": 0.3,
        }
        for cell, batcher, optimizer in PAIRS
    },
    "plain gradient descent": {"optimizer": "sgd", "dropout": 0.2},
    "random length, adaptive": {"bptt": "random", "dropout": 0.2, "adaptive": True},
    "whole streams, relu": {
        "bptt": "full",
        "cell": "rnn",
        "activation": "relu",
        "layer_norm": False,
    },
    "stride, accumulated": {"bptt_stride": 4, "dropout": 0.2, "accumulate": 3},
    "two layers, residual, bfloat16": {
        "precision": "bf16",
        "num_layers": 2,
        "residual": True,
        "dropout": 0.5,
    },
    "tied, attention": {
        "embedding_size": 8,
        "tied": True,
        "weight_decay": 0.1,
        "clip_value": 0.01,
        "attention": 20,
        "dropout": 0.3,
    },
    "n-grams": {"ngram_embedding": 4, "ngram_rows": 40, "ngram_path": "both", "dropout": 0.3},
    "n-grams, random length, attention": {
        "ngram_embedding": 3,
        "attention": 5,
        "bptt": "random",
        "clip_value": 0.01,
        "accumulate": 3,
    },
    "matches": {"match_window": 20, "match_length": 1, "ngram_embedding": 0},
    "matches, random length": {"match_window": 5, "match_length": 2, "bptt": "random"},
    "curriculum": {"seq_len_start": 2, "seq_len": 30},
    "curriculum, random": {"seq_len_start": 2, "batcher": "random"},
    "patience": {"patience": 1, "lr": 0.5},
    "saving all the time, samples": {"save_every": 1, "sample_every": 4},
}
SEQUENTIAL, RANDOM = VARIANTS["lstm sequential muon"], VARIANTS["rnn random adamw"]
STRIDE, PATIENCE = VARIANTS["stride, accumulated"], VARIANTS["patience"]

Uninterrupted = Callable[..., dict[str, Any]]


def interrupted(path: Path, step: int, *, after: type = Trained, **settings: Any) -> None:
    """Run until an event of the kind `after` at `step`, and let a signal stop the run there."""
    seen: list[Any] = []

    def stop() -> int | None:
        return 15 if any(type(event) is after and event.step == step for event in seen) else None

    with run_in(path, **settings) as one, pytest.raises(InterruptedRun) as caught:
        deque(map(seen.append, one.train(stop)))
    assert caught.value.exit_code == 143
    assert caught.value.message == f"Stopped and saved at step {step:,}."


def killed(path: Path, step: int, **settings: Any) -> None:
    """Run until `step` is recorded, with its evaluation if it has one; then never again."""
    with run_in(path, **settings) as one:
        events = one.train()
        for event in events:
            if event.step > step:
                break
        events.close()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    """Return a run's results without any interruption, computed once."""
    known: dict[str, dict[str, Any]] = {}

    def compute(**settings: Any) -> dict[str, Any]:
        name = repr(settings)
        if name not in known:
            path = tmp_path_factory.mktemp("run")
            run(path, **settings)
            known[name] = results(path)
        return known[name]

    return compute


def test_the_steps_at_which_runs_are_stopped_are_what_their_names_say() -> None:
    assert EPOCH == EDGE
    assert SETTINGS["eval_every"] == EVALUATED
    assert BEFORE_LAST == STEPS - 1


def test_the_variants_hold_every_pair_of_choices() -> None:
    choices: list[tuple[str, ...]] = [tuple(CELLS), BATCHERS, AVERAGING]
    for one, other in combinations(range(3), 2):
        assert {(names[one], names[other]) for names in PAIRS} == set(
            product(choices[one], choices[other])
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_again_and_again_ends_as_if_it_had_not_been(
    variant: str, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    settings = VARIANTS[variant]
    expected = uninterrupted(**settings)
    for step in (FIRST, MIDDLE, EVALUATED, EDGE, BEFORE_LAST):
        if step < expected["metrics"][-1]["step"]:  # patience may end a run early
            interrupted(tmp_path, step, **settings)
    run(tmp_path, **settings)
    assert results(tmp_path) == expected


@pytest.mark.parametrize("step", [FIRST, MIDDLE, EDGE, BEFORE_LAST])
@pytest.mark.parametrize("settings", [SEQUENTIAL, RANDOM, STRIDE], ids=str)
def test_a_run_stopped_once_ends_as_if_it_had_not_been(
    settings: dict[str, Any], step: int, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    interrupted(tmp_path, step, **settings)
    run(tmp_path, **settings)
    assert results(tmp_path) == uninterrupted(**settings)


@pytest.mark.parametrize("after", [Trained, Evaluated])
@pytest.mark.parametrize("settings", [SEQUENTIAL, RANDOM, PATIENCE], ids=str)
def test_a_run_stopped_around_an_evaluation_evaluates_once(
    settings: dict[str, Any], after: type, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    interrupted(tmp_path, EVALUATED, after=after, **settings)
    run(tmp_path, **settings)
    assert results(tmp_path) == uninterrupted(**settings)


@pytest.mark.parametrize("step", [FIRST, EVALUATED, EDGE])
@pytest.mark.parametrize("save_every", [1, 5])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    save_every: int, step: int, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    for at in (step, step, step + 1):
        killed(tmp_path, at, save_every=save_every)
    run(tmp_path, save_every=save_every)
    assert results(tmp_path) == uninterrupted(save_every=save_every)


def test_a_run_stopped_before_an_evaluation_and_killed_after_it_logs_it_once(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    interrupted(tmp_path, EVALUATED)
    killed(tmp_path, EVALUATED)
    run(tmp_path)
    assert results(tmp_path) == uninterrupted()


def test_a_run_killed_before_its_first_save_leaves_nothing_in_the_way(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    killed(tmp_path, EVALUATED + 1)
    run(tmp_path)
    assert results(tmp_path) == uninterrupted()


def test_asking_to_stop_after_the_last_evaluation_does_not_matter(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    seen: list[Any] = []

    def stop() -> int | None:
        return (
            2 if any(type(event) is Evaluated and event.step == STEPS for event in seen) else None
        )

    with run_in(tmp_path) as one:
        deque(map(seen.append, one.train(stop)))
    assert isinstance(seen[-1], Finished)
    assert results(tmp_path) == uninterrupted()


def test_a_complete_run_that_is_continued_has_nothing_left_to_do(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    *_, first = run(tmp_path)
    (again,) = run(tmp_path)
    assert isinstance(first, Finished)
    assert isinstance(again, Finished)
    known = {"seconds", "chars_per_second"}
    assert {k: v for k, v in again.summary.items() if k not in known} == {
        k: v for k, v in first.summary.items() if k not in known
    }
    assert results(tmp_path) == uninterrupted()


def test_a_state_from_before_the_scaler_is_continued(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """It has the loss's scale, which torch keeps now, in its progress."""
    interrupted(tmp_path, MIDDLE, **SEQUENTIAL)
    arrays, facts = container.load(tmp_path / "last.safetensors")
    del facts["trainer"]["scaler"]
    facts["trainer"]["progress"] |= {"loss_scale": 1.0, "quiet_steps": MIDDLE}
    (tmp_path / "last.safetensors").write_bytes(container.to_bytes(arrays, facts))
    run(tmp_path, **SEQUENTIAL)
    assert results(tmp_path) == uninterrupted(**SEQUENTIAL)


@pytest.mark.parametrize("setting", ["eval_every", "log_every", "sample_every", "save_every"])
def test_reporting_more_or_less_often_leaves_the_weights_as_they_are(
    setting: str, tmp_path: Path
) -> None:
    ends = []
    for every in (1, 4, 100):
        run(tmp_path / str(every), dropout=0.3, **{setting: every})
        ends.append(weights(tmp_path / str(every)))
    assert all(np.array_equal(ends[0][name], other[name]) for other in ends[1:] for name in ends[0])


def test_all_that_happens_is_told_in_order(tmp_path: Path) -> None:
    events = run(tmp_path, steps=6, eval_every=3, save_every=2, sample_every=5)
    assert isinstance(events[-1], Finished)
    told = [(type(event).__name__, event.step) for event in events[:-1]]
    assert told == [
        ("Started", 0),
        ("Trained", 1),
        ("Trained", 2),
        ("Saved", 2),
        ("Trained", 3),
        ("Busy", 3),
        ("Evaluated", 3),
        ("Trained", 4),
        ("Saved", 4),
        ("Trained", 5),
        ("Sampled", 5),
        ("Trained", 6),
        ("Busy", 6),
        ("Evaluated", 6),
        ("Saved", 6),
    ]
    assert all(len(event.text) == 200 for event in events if isinstance(event, Sampled))


def test_the_log_has_what_was_measured(tmp_path: Path) -> None:
    events = run(tmp_path, steps=9, eval_every=4, log_every=3)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "valid" in line) for line in lines] == [
        (3, False),
        (4, True),
        (6, False),
        (8, True),
        (9, False),
        (9, True),
    ]
    trained = {event.step: event for event in events if isinstance(event, Trained)}
    evaluated = {event.step: event for event in events if isinstance(event, Evaluated)}
    for line in lines:
        if "valid" in line:
            assert line["valid"] == evaluated[line["step"]].score.nats_per_token
        else:
            assert (line["loss"], line["grad_norm"]) == (
                trained[line["step"]].loss,
                trained[line["step"]].grad_norm,
            )
    assert all(line["seconds"] >= 0 for line in lines)


def test_the_model_kept_is_the_best_one(tmp_path: Path) -> None:
    states: dict[int, Any] = {}
    with run_in(tmp_path, lr=10.0, lr_floor=1.0, steps=40, eval_every=4) as one:
        for event in one.train():
            if isinstance(event, Evaluated):
                now = one.trainer.model.state_dict()
                states[event.step] = event.score, {n: v.numpy().copy() for n, v in now.items()}
    best = min(states, key=lambda step: states[step][0].nats_per_token)
    assert best < 40, "the learning rate should be so high that the last is not the best"
    model = load(tmp_path)
    assert model.about["step"] == best
    assert model.about["valid"]["nats"] == states[best][0].nats
    assert all(
        np.array_equal(model.saved.weights[name], value) for name, value in states[best][1].items()
    )


def nan_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loss be not a number from a step on; scoring is left as it is."""
    good, calls = functional.cross_entropy, iter(range(1, 1000))

    def loss(*args: Any, **kwargs: Any) -> Any:
        value = good(*args, **kwargs)
        return value if kwargs["reduction"] == "none" or next(calls) < step else value * math.nan

    monkeypatch.setattr(functional, "cross_entropy", loss)


def assert_all_finite(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        for name, array in container.load(path)[0].items():
            assert np.isfinite(array).all(), f"{name} in {path.name}"


def test_divergence_leaves_what_was_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from(8, monkeypatch)
    with pytest.raises(DivergedError) as caught:
        run(tmp_path, save_every=1, lr=0.04)
    assert "loss became nan at step 8" in caught.value.message
    assert f"step 5, is in {tmp_path / 'model.safetensors'}" in caught.value.message
    assert caught.value.hint == "Try a lower learning rate: `fresh` `lr` 0.01"
    assert_all_finite(tmp_path)
    assert container.load(tmp_path / "last.safetensors")[1]["trainer"]["progress"]["step"] == 7
    assert len(load(tmp_path).generate(length=20)) == 20


def test_divergence_before_the_first_model_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_from(2, monkeypatch)
    with pytest.raises(DivergedError, match=r"No model was saved before\."):
        run(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("weight_decay", [0.0, 10.0])
@pytest.mark.parametrize("batcher", BATCHERS)
def test_whatever_the_learning_rate_no_file_ever_holds_what_is_not_finite(
    batcher: str, weight_decay: float, tmp_path: Path
) -> None:
    with suppress(DivergedError):
        settings = {"lr": 1e9, "warmup": 0, "weight_decay": weight_decay, "clip_norm": 0}
        often = {"save_every": 1, "eval_every": 1}
        run(tmp_path, batcher=batcher, steps=40, optimizer="adamw", **settings, **often)
    assert_all_finite(tmp_path)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"lr": 0.5}, "`lr` was not given and is now 0.5"),
        ({"hidden_size": 9}, "`hidden_size` was 8 and is now 9"),
        (
            {"seq_len": 20, "seed": 3},
            "`seed` was not given and is now 3, `seq_len` was 16 and is now 20",
        ),
    ],
    ids=["given now", "changed", "two"],
)
def test_other_options_are_refused_and_listed(
    settings: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    interrupted(tmp_path, MIDDLE)
    before = results_so_far(tmp_path)
    with pytest.raises(UsageError) as caught, run_in(tmp_path, **settings):
        pass
    begun = f"The run in {tmp_path} was started with other options: "
    assert caught.value.message == f"{begun}{difference}."
    assert "`fresh`" in caught.value.hint
    assert results_so_far(tmp_path) == before


def results_so_far(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_another_text_is_refused(tmp_path: Path) -> None:
    interrupted(tmp_path, MIDDLE)
    with (
        pytest.raises(TextError, match=r"text has changed since the run in .* began"),
        run_in(tmp_path, TEXT + "."),
    ):
        pass


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_state_is_replaced_by_the_one_before_it(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    interrupted(tmp_path, 7, save_every=2)
    damage(tmp_path / "last.safetensors")
    events = run(tmp_path, save_every=2)
    assert isinstance(events[0], Started)
    assert events[0].step == 6
    assert results(tmp_path) == uninterrupted(save_every=2)


def test_without_a_good_state_a_run_never_starts_over(tmp_path: Path) -> None:
    interrupted(tmp_path, 7, save_every=2)
    for name in ("last", "previous"):
        damage(tmp_path / f"{name}.safetensors")
    with pytest.raises(
        ModelFileError, match=r"last\.safetensors is damaged.*previous\.safetensors is damaged"
    ):
        run(tmp_path)


def test_a_model_without_a_state_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "whole" / "model.safetensors", tmp_path / "run")
    with pytest.raises(UsageError, match="holds a model but no training state"):
        run(tmp_path / "run")


def failing(monkeypatch: pytest.MonkeyPatch, name: str, times: range) -> None:
    """Let the disk be full whenever a file of that name is written for one of these times."""
    real, calls = atomic._replacement, iter(range(1, 1000))

    def replacement(path: Path, keep: Path | None) -> Any:
        if path.name == name and next(calls) in times:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, keep)

    monkeypatch.setattr(atomic, "_replacement", replacement)


@pytest.mark.parametrize("name", ["last.safetensors", "model.safetensors"])
def test_a_save_that_fails_is_told_and_tried_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Uninterrupted
) -> None:
    expected = uninterrupted(save_every=3)
    failing(monkeypatch, name, range(2, 4))
    events = run(tmp_path, save_every=3)
    failures = [event for event in events if isinstance(event, SaveFailed)]
    assert 1 <= len(failures) <= 3
    assert all("No space left on device" in failure.error.message for failure in failures)
    assert results(tmp_path) == expected


def test_a_log_that_cannot_be_written_does_not_cost_the_best_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Uninterrupted
) -> None:
    expected = uninterrupted()

    def fail(*_: Any) -> None:
        raise MachineError("Cannot write to metrics.jsonl: No space left on device.")

    monkeypatch.setattr("charrnn.storage.metrics_log.MetricsLog.append", fail)
    events = run(tmp_path)
    assert any(isinstance(event, SaveFailed) for event in events)
    assert (tmp_path / "model.safetensors").read_bytes() == expected["model"]


def test_a_final_save_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "last.safetensors", range(2, 100))
    with pytest.raises(MachineError, match="No space left on device"):
        run(tmp_path)
    assert container.load(tmp_path / "last.safetensors")[1]["trainer"]["progress"]["step"] == 0


def test_the_summary_says_what_the_run_came_to(tmp_path: Path) -> None:
    *events, saved, finished = run(tmp_path)
    assert isinstance(saved, Saved)
    assert isinstance(finished, Finished)
    summary = finished.summary
    scores = {event.step: event.score for event in events if isinstance(event, Evaluated)}
    best = scores[summary["best_step"]]
    assert summary["valid_nats_per_token"] == min(score.nats_per_token for score in scores.values())
    assert summary["valid_bits_per_char"] == pytest.approx(best.bits_per_char, rel=1e-12)
    assert summary["step"] == STEPS
    assert summary["parameters"] + summary["table_parameters"] == sum(
        array.size for array in load(tmp_path).saved.weights.values()
    )
    assert summary["tokens"] == max(event.tokens for event in events if isinstance(event, Trained))
    json.dumps(summary, allow_nan=False)
