"""Plans for requests of every kind, on a machine whose speed is made up."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import CHARRNN, process
from small_runs import SETTINGS, arguments

from charrnn.config.ignored import ignored_settings
from charrnn.config.model import ModelConfig
from charrnn.config.presets import (
    LONG_TEXT,
    PRESETS,
    STUDENT_DROPOUT,
    max_epochs,
    ngram_settings,
    shape_settings,
    suitable_dropout,
    suitable_ngram_dropout,
)
from charrnn.config.training import TOKENIZERS, TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.encoding import Encoded, EncodedSplit, encode_text
from charrnn.data.formats import PLAIN
from charrnn.errors import MachineError, UsageError
from charrnn.model.shapes import parameter_count
from charrnn.runtime.precision import Precision
from charrnn.tokenizers import CharTokenizer
from charrnn.training import memory, planner, time_budget, width
from charrnn.training.plan import Plan
from charrnn.training.planning import PlannedRun, make_plan
from charrnn.training.request import TrainRequest
from charrnn.training.throughput import SCORED_STEPS, Throughput, measure_throughput
from charrnn.training.time_budget import SECONDS_TO_SAVE

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
TOKENIZER = CharTokenizer.train(TEXT)
TRAIN, VALID = encode_text(TOKENIZER, TEXT), encode_text(TOKENIZER, TEXT[:200])
NOW = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes while a plan is made, and no number format is measured."""
    monkeypatch.setattr(planner, "time", SimpleNamespace(monotonic=lambda: NOW))
    monkeypatch.setattr(planner, "choose_precision", lambda *_: Precision("fp32"))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> Throughput:
        raise AssertionError("nothing in this plan depends on the machine's speed")

    monkeypatch.setattr(planner, "measure_throughput", measure)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make up how long a step and an evaluation take."""

    def pretend(step: float, evaluation: float = 0.1) -> None:
        monkeypatch.setattr(
            planner, "measure_throughput", lambda *_, **__: Throughput(step, evaluation)
        )

    return pretend


def asked(**fields: Any) -> TrainRequest:
    return TrainRequest(texts=("text",), **fields)


def planned(
    request: TrainRequest,
    *,
    started: float = NOW,
    train: Encoded = TRAIN,
    valid: Encoded = VALID,
    **others: Any,
) -> PlannedRun:
    data = EncodedSplit("text", "", PLAIN, TOKENIZER, train, valid)
    return make_plan(request, data, started=started, **others)


def plan_of(request: TrainRequest, **others: Any) -> Plan:
    return planned(request, **others).plan


def tokens_of(config: TrainConfig) -> list[int]:
    """Count the tokens that each step of this configuration really learns from."""
    batcher = make_batcher(TRAIN.ids, config, start=TOKENIZER.size)
    batches = (batcher.next_batch() for _ in range(config.steps))
    return [batch.targets[:, batch.scored_from :].numel() for batch in batches]


@pytest.mark.usefixtures("unmeasured")
def test_a_number_of_steps_is_taken_as_it_is() -> None:
    found = planned(asked(settings={"steps": 123}))
    assert found.plan.train.steps == 123
    assert found.plan.train.eval_every <= 123
    assert (found.estimate.seconds, found.budget) == (None, None)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("epochs", [0.01, 1, 3.5, 40])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 7, "seq_len": 13},
        {"batch_size": 5, "seq_len": 5000},
        {"batch_size": 4000, "seq_len": 64},
        {"bptt": "full", "batch_size": 4},
        {"batch_size": 4, "seq_len": 40, "bptt_stride": 10},
        {"batcher": "random", "batch_size": 4, "seq_len": 50},
        {"batcher": "random", "batch_size": 64, "seq_len": 100},
        {"batcher": "random", "batch_size": 2, "seq_len": 5000},
    ],
    ids=str,
)
def test_epochs_become_the_steps_that_see_the_text_so_often(
    epochs: float, settings: dict[str, Any]
) -> None:
    plan = plan_of(asked(epochs=epochs, settings=settings))
    counts = tokens_of(plan.train)
    one_step = max(counts) / len(TRAIN.ids)
    assert epochs <= plan.epochs + 1e-9 <= epochs + one_step + 1e-6
    # a part of an epoch may hold the longer windows or the shorter ones, and an epoch leaves out
    # less than a column
    assert plan.epochs == pytest.approx(sum(counts) / len(TRAIN.ids), abs=one_step + 0.001 * epochs)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("batcher", ["sequential", "random"])
def test_epochs_count_the_short_sequences_of_a_curriculum(batcher: str) -> None:
    settings = {"batcher": batcher, "batch_size": 3, "seq_len": 64, "seq_len_start": 4}
    plan = plan_of(asked(epochs=20, settings=settings))
    assert plan.epochs == pytest.approx(20, abs=0.1)
    assert sum(tokens_of(plan.train)) / len(TRAIN.ids) == pytest.approx(20, rel=0.02)


@pytest.mark.usefixtures("unmeasured")
def test_a_cells_own_settings_hold_unless_others_are_given() -> None:
    usual, own, given = (
        plan_of(asked(settings={"steps": 5} | settings)).model
        for settings in (
            {},
            {"cell": "mingru"},
            {"cell": "mingru", "num_layers": 1, "residual": False},
        )
    )
    assert (usual.num_layers, usual.residual) == (2, False)
    assert (own.num_layers, own.residual, own.forget_bias) == (4, True, 0.0)
    assert (given.num_layers, given.residual, given.forget_bias) == (1, False, 0.0)


@pytest.mark.usefixtures("unmeasured")
def test_the_more_passes_the_more_dropout() -> None:
    for epochs in (1, 10, 100):
        plan = plan_of(asked(epochs=epochs))
        assert plan.model.dropout == suitable_dropout(
            plan.epochs, parameter_count(plan.model), len(TRAIN.ids)
        )


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "settings",
    [
        {"ngram_embedding": 0},
        {"ngram_embedding": 0, "dropout": 0.2},
        {"ngram_embedding": 0, "cell": "mingru"},
        {"ngram_embedding": 3, "cell": "gru"},
    ],
    ids=str,
)
def test_a_plan_with_other_steps_is_the_plan_that_would_have_been_made_for_them(
    settings: dict[str, Any],
) -> None:
    first, other = (
        plan_of(asked(settings=settings | {"steps": steps, "eval_every": 9})) for steps in (20, 400)
    )
    found = first.with_steps(400, len(TRAIN.ids), settings)
    assert found.train.lr == first.train.lr > other.train.lr  # the peak of a run stays
    assert replace(found, train=replace(found.train, lr=other.train.lr)) == other
    assert (first.model == other.model) == (
        settings.get("dropout") is not None or settings.get("cell") == "mingru"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_text_is_as_long_as_its_characters_however_few_symbols_they_make(
    speed: Any, preset: str
) -> None:
    speed(1e-6, 1e-6)
    words = replace(TRAIN, characters=LONG_TEXT)
    plan = plan_of(asked(preset=preset), train=words)
    shape = shape_settings(LONG_TEXT)
    assert {"hidden_size": plan.model.hidden_size, "batch_size": plan.train.batch_size} == shape
    assert plan.epochs == pytest.approx(max_epochs(LONG_TEXT), rel=0.05)
    assert plan.model.dropout == suitable_dropout(
        plan.epochs, parameter_count(plan.model), LONG_TEXT
    )


def test_the_width_follows_from_the_speed_and_is_given_or_that_of_a_short_text_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(model: ModelConfig, *_: object, **__: object) -> Throughput:
        return Throughput(1e-2 * (model.hidden_size / 256) ** 2, 0.1)

    monkeypatch.setattr(planner, "measure_throughput", measure)
    monkeypatch.setattr(width, "max_epochs", lambda *_: 10**9)
    long = replace(TRAIN, characters=LONG_TEXT)
    widths = [
        plan_of(asked(seconds=seconds), train=long).model.hidden_size
        for seconds in (1e-4, 1.0, 10.0, 1000.0)
    ]
    assert widths == sorted(widths)
    assert widths[0] == 96
    assert widths[-1] == 512
    given = asked(seconds=1000.0, settings={"hidden_size": 100})
    assert plan_of(given, train=long).model.hidden_size == 100
    short = replace(TRAIN, characters=20_000)
    assert plan_of(asked(seconds=1e-4), train=short).model.hidden_size == 256


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("steps", "more", "orders", "path"),
    [
        (1, {}, 7, "both"),
        (1, {"ngram_embedding": 3, "ngram_path": "input"}, 3, "input"),
        (10_000, {}, 5, "output"),
        (10_000, {"ngram_embedding": 3}, 3, "output"),
        (10_000, {"ngram_embedding": 3, "ngram_path": "both"}, 3, "both"),
        (8, {}, 5, "output"),
        (12, {"hidden_size": 64}, 5, "both"),
        (1, {"cell": "rnn"}, 7, "both"),
        (1, {"ngram_path": "output"}, 7, "output"),
        (1, {"optimizer": "sgd"}, 0, "input"),
    ],
    ids=str,
)
def test_ngrams_go_where_they_are_not_learned_by_heart(
    steps: int, more: dict[str, Any], orders: int, path: str
) -> None:
    long = replace(TRAIN, characters=LONG_TEXT)
    plan = plan_of(asked(settings={"steps": steps, **more}), train=long)
    assert (plan.model.ngram_embedding, plan.model.ngram_path) == (orders, path)
    assert plan.model.ngram_dropout == (suitable_ngram_dropout(plan.epochs) if orders else 0)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("more", [{}, {"optimizer": "sgd"}, {"cell": "rnn"}], ids=str)
def test_the_settings_of_a_run_can_be_given_to_another(more: dict[str, Any]) -> None:
    plan = plan_of(asked(settings={"steps": 3, **more}))
    assert ignored_settings(plan.model.settings() | vars(plan.train)) == {}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("settings", "lr"),
    [
        ({"steps": 20}, 0.02),
        ({"steps": 2000}, 0.0055),
        ({"steps": 2000, "optimizer": "adamw"}, 0.0055),
        ({"steps": 20, "batch_size": 999}, 0.008),
        ({"steps": 20, "lr": 0.3}, 0.3),
        ({"steps": 20, "optimizer": "sgd"}, 1.0),
    ],
    ids=str,
)
def test_the_learning_rate_suits_steps_and_passes(settings: dict[str, Any], lr: float) -> None:
    assert plan_of(asked(settings=settings)).train.lr == lr


@pytest.mark.usefixtures("unmeasured")
def test_a_model_that_goes_on_has_the_usual_learning_rate() -> None:
    base = plan_of(asked(settings={"steps": 9})).model
    assert plan_of(asked(settings={"steps": 200}), base=base).train.lr == TrainConfig().lr


def test_ngrams_of_words_are_not_embedded() -> None:
    orders = [ngram_settings(kind, 10**6)["ngram_embedding"] for kind in TOKENIZERS]
    assert orders == [5, 5, 0, 0, 0]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("length", "epochs", "given", "order"),
    [
        (3, 1, {}, 2),
        (7, 1, {}, 3),
        (8, 3, {}, 4),
        (13, 3, {}, 5),
        (13, 1, {}, 6),
        (90, 3, {}, 5),
        (None, 3, {}, 5),
        (None, 1, {}, 7),
        (7, 1, {"ngram_embedding": 5}, 5),
        (7, 1, {"ngram_embedding": 0}, 0),
    ],
    ids=str,
)
def test_ngrams_are_long_in_the_first_pass_and_at_most_half_as_long_as_records(
    length: int | None, epochs: float, given: dict[str, Any], order: int
) -> None:
    train = TRAIN
    if length is not None:
        starts = np.arange(0, len(TRAIN.ids), length)
        train = replace(TRAIN, starts=starts, characters=len(starts) * length)
    model = plan_of(asked(epochs=epochs, settings=given), train=train).model
    assert model.ngram_embedding == order


def test_tables_grow_with_the_text() -> None:
    found = [ngram_settings("char", 10**power).get("ngram_rows", 0) for power in range(2, 10)]
    assert found == sorted(found)
    assert found[0] == 16  # one row for six characters
    assert found[4] == 1 << 15  # of 1 MB; then one for 64
    assert found[-1] == 1 << 16


def test_bytes_count_as_characters(speed: Any) -> None:
    speed(1e-6, 1e-6)
    accented = replace(TRAIN, characters=len(TRAIN.ids) // 2)
    assert plan_of(asked(), train=accented) == plan_of(asked())


EXPLICIT = {
    "cell": "gru",
    "hidden_size": 24,
    "embedding_size": 12,
    "dropout": 0.33,
    "layer_norm": False,
    "batch_size": 3,
    "seq_len": 17,
    "optimizer": "adamw",
    "lr": 0.5,
    "weight_decay": 0.02,
    "eval_every": 7,
    "seed": 9,
    "precision": "fp32",
}


@pytest.mark.parametrize(
    "length", [{"epochs": 2.0}, {"seconds": 30.0}, {"preset": "quick"}], ids=str
)
def test_what_was_asked_for_always_wins(speed: Any, length: dict[str, Any]) -> None:
    speed(0.1)
    plan = plan_of(asked(settings=EXPLICIT, **length))
    settled = plan.model.to_dict() | plan.train.to_dict()
    assert {name: settled[name] for name in EXPLICIT} == EXPLICIT
    assert plan.precision == "fp32"
    assert plan.model.vocab_size == TOKENIZER.size


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_a_slower_machine_takes_fewer_steps_in_the_same_time(
    speed: Any, preset: str | None
) -> None:
    taken = []
    for step in (0.01, 0.1, 1.0):
        speed(step)
        found = planned(asked(preset=preset, seconds=120.0))
        seconds, steps = found.estimate.seconds, found.plan.train.steps
        assert seconds is not None
        assert 0.9 * 120 < seconds <= 120
        assert seconds == pytest.approx(steps * step, rel=0.1)
        taken.append(steps)
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == 3


@pytest.mark.parametrize(
    ("idle", "seconds", "settings", "chosen", "tries"),
    [
        (1, {3: 0.5, 1: 0.1}, {}, 1, 2),  # busy, and one thread is faster
        (1, {3: 0.5, 1: 0.45}, {}, None, 2),  # not clearly
        (1, {3: 0.1, 1: 0.5}, {}, None, 2),
        (3, {3: 0.5, 1: 0.1}, {}, None, 1),  # all cores are idle
        (1, {3: 0.5, 1: 0.1}, {"threads": 3}, 3, 1),
    ],
)
def test_on_a_busy_machine_fewer_threads_are_tried_and_taken_if_they_are_faster(
    idle: int,
    seconds: dict[int, float],
    settings: dict[str, Any],
    chosen: int | None,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def measure(*_: object, **__: object) -> Throughput:
        tried.append(torch.get_num_threads())
        return Throughput(seconds[tried[-1]], 0.1)

    monkeypatch.setattr(planner, "measure_throughput", measure)
    monkeypatch.setattr(time_budget, "idle_cores", lambda: idle)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = planned(asked(settings={"device": "cpu"} | settings, seconds=100.0))
        assert (found.plan.train.threads, len(tried)) == (chosen, 1 + tries)  # a glance comes first
        assert torch.get_num_threads() == (chosen or 3)
        assert found.estimate.device.startswith(f"cpu with {chosen or 3} thread")
        assert found.plan.train.steps == pytest.approx(99 / seconds[chosen or 3], rel=0.1)
    finally:
        torch.set_num_threads(before)


def test_time_is_left_for_the_last_evaluation(speed: Any) -> None:
    speed(0.1, 3.0)
    budget = planned(asked(seconds=100.0), started=NOW - 7).budget
    assert budget is not None
    assert budget.reserved_seconds() == 3.0 + SECONDS_TO_SAVE
    assert budget.deadline == NOW + 93


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        # A long validation text is never scored whole, and no time is left for that.
        ({}, 0.05 * 100 / 5),
        ({"valid_whole": True}, 40 + 0.05 * 100 / 5),
        ({"valid_whole": False, "valid_tokens": 500_000}, 20.0),
    ],
    ids=str,
)
def test_time_is_left_for_what_is_scored_at_the_end_and_no_more(
    speed: Any, settings: dict[str, Any], most: float
) -> None:
    speed(0.1, 40.0)
    long = Encoded(np.zeros(10**6, np.uint8), 10**6, 10**6)
    found = planned(asked(seconds=100.0, settings=settings), valid=long)
    assert found.budget is not None
    assert found.estimate.seconds is not None
    reserved = found.budget.reserved_seconds() - SECONDS_TO_SAVE
    assert 0.5 * most < reserved <= most
    assert "valid_whole" in settings or found.estimate.seconds < 100


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        (0.0, {}, 128),  # a step takes as long whatever the batch, as on a GPU
        (0.3, {}, 128),
        (1.0, {}, 128),  # a row takes as long whatever the batch: no loss in the first pass
        (1.4, {}, 32),
        (0.3, {"batch_size": 48}, 48),
        (0.3, {"optimizer": "adamw"}, 32),
        (0.3, {"records": "lines"}, 32),
    ],
    ids=str,
)
def test_the_batches_of_a_timed_run_follow_from_the_speed(
    row: float, settings: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of 32 rows takes 0.05 seconds, a part of it the same for any number of rows."""

    def measure(model: ModelConfig, config: TrainConfig, *_: object, **__: object) -> Throughput:
        return Throughput(0.05 * (1 - row + row * config.batch_size / 32), 0.1)

    monkeypatch.setattr(planner, "measure_throughput", measure)
    ids = np.zeros(20_000_000, np.uint8)
    starts = np.arange(0, len(ids), 1000) if "records" in settings else None
    text = Encoded(ids, len(ids), len(ids), starts)
    for limit in ({"seconds": 74.0}, {"preset": "quick"}):
        plan = plan_of(asked(settings=settings, **limit), train=text)
        assert plan.train.batch_size == expected
        assert plan.epochs == pytest.approx(plan.train.steps * 64 * expected / len(ids), rel=0.1)
    steps = plan_of(asked(settings=settings | {"steps": 50}), train=text)
    assert steps.train.batch_size == settings.get("batch_size", 32)


def test_batches_that_need_too_much_memory_are_not_taken(
    speed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(0.05)
    needed = memory.memory_bytes

    def memory_bytes(model: ModelConfig, shapes: Any, *rest: Any) -> int:
        return needed(model, shapes, *rest) if max(rows for rows, *_ in shapes) <= 64 else 1 << 60

    monkeypatch.setattr(planner, "memory_bytes", memory_bytes)
    text = Encoded(np.zeros(20_000_000, np.uint8), 20_000_000, 20_000_000)
    assert plan_of(asked(seconds=74.0), train=text).train.batch_size == 64


def test_time_that_has_passed_counts(speed: Any) -> None:
    speed(0.1)
    late, early = (
        plan_of(asked(seconds=100.0), started=NOW - passed).train.steps for passed in (60, 0)
    )
    assert late == pytest.approx(0.4 * early, rel=0.05)


@pytest.mark.parametrize(("step", "evaluation"), [(1e3, 0.1), (0.1, 1e3), (1e3, 1e3)])
def test_however_slow_the_machine_there_are_ten_steps_and_an_evaluation(
    speed: Any, step: float, evaluation: float
) -> None:
    speed(step, evaluation)
    plan = plan_of(asked(seconds=5.0), started=NOW - 50)
    assert plan.train.steps == 10
    assert plan.train.eval_every <= 10


def test_a_preset_does_not_pass_over_the_text_for_ever_but_a_given_time_is_used(speed: Any) -> None:
    speed(1e-6, 1e-6)
    most = max_epochs(len(TRAIN.ids))
    for name in PRESETS:
        assert plan_of(asked(preset=name)).epochs == pytest.approx(most, rel=0.05)
    assert plan_of(asked(seconds=60.0)).epochs > 10 * most


def test_measuring_on_request_changes_nothing_but_the_estimate(speed: Any) -> None:
    speed(0.5, 2.0)
    request = asked(settings={"steps": 100, "eval_every": 30})
    with_estimate, without = planned(request, estimate=True), planned(request)
    assert with_estimate.plan == without.plan
    assert with_estimate.estimate.seconds == 100 * 0.5 + 4 * 2.0
    assert without.estimate.seconds is None


def test_a_plan_is_a_function_of_the_request_and_the_speed(speed: Any) -> None:
    speed(0.2)
    assert plan_of(asked(preset="quick")) == plan_of(asked(preset="quick"))


BASE = ModelConfig(
    vocab_size=20, cell="gru", hidden_size=12, embedding_size=6, num_layers=1, dropout=0.4
)


@pytest.mark.usefixtures("unmeasured")
def test_a_model_to_start_from_gives_the_shape_and_the_text_its_vocabulary() -> None:
    """And the dropout is that of the new training, not of the one before."""
    plan = plan_of(asked(settings={"steps": 5, "hidden_size": 12}), base=BASE)
    dropout = suitable_dropout(plan.epochs, parameter_count(plan.model), len(TRAIN.ids))
    assert plan.model == ModelConfig(
        **BASE.to_dict() | {"vocab_size": TOKENIZER.size, "dropout": dropout}
    )


@pytest.mark.usefixtures("unmeasured")
def test_dropout_may_differ_from_the_model_to_start_from() -> None:
    assert plan_of(asked(settings={"steps": 5, "dropout": 0.1}), base=BASE).model.dropout == 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 16), ("cell", "lstm"), ("layer_norm", False), ("num_layers", 2)],
)
def test_another_shape_than_that_of_the_model_to_start_from_is_refused(
    name: str, value: Any
) -> None:
    with pytest.raises(UsageError, match=f"`{name}` cannot differ.*is {getattr(BASE, name)}"):
        plan_of(asked(settings={"steps": 5, name: value}), base=BASE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_size": 3}, "Unknown setting 'hiden_size'"),
        ({"vocab_size": 3}, "`vocab_size` must be at least 260"),
        ({"hidden_size": 0}, "`hidden_size` must be at least 1"),
        ({"lr": -1.0}, "`lr` must be greater than 0"),
        ({"tied": True, "embedding_size": 7, "hidden_size": 9}, "`tied` needs"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_measured(
    unmeasured: None, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(asked(settings=settings))


@pytest.mark.usefixtures("unmeasured")
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="`device` cuda"):
        plan_of(asked(settings={"device": "cuda"}))


@pytest.mark.parametrize(
    ("lengths", "names"),
    [
        ({"settings": {"steps": 5}, "epochs": 2.0}, "`steps` and `epochs`"),
        ({"epochs": 2.0, "seconds": 9.0}, "`epochs` and `seconds`"),
        ({"settings": {"steps": 5}, "epochs": 2.0, "seconds": 9.0}, "`steps` and `epochs`"),
    ],
)
def test_a_length_given_twice_is_refused(lengths: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError, match=f"^{names} both say") as caught:
        asked(**lengths)
    assert caught.value.hint


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["epochs", "seconds"])
def test_a_length_that_makes_no_sense_is_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"`{field}` must be greater than 0, not {value:g}"):
        asked(**{field: value})


def test_a_preset_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="'fast'"):
        asked(preset="fast")


def test_what_was_asked_for_is_what_was_given_and_nothing_else() -> None:
    """In JSON values; the text, its encoding and its folder are none of that."""
    assert asked(out=Path("here"), encoding="latin-1", fresh=True).requested() == {}
    request = asked(settings={"lr": 0.1, "patience": 3}, preset="quick", seconds=90.0)
    expected = {
        "lr": 0.1,
        "patience": 3,
        "preset": "quick",
        "seconds": 90.0,
        "init_from": "ab" * 32,
    }
    assert json.loads(json.dumps(request.requested("ab" * 32))) == expected


def test_the_estimate_of_memory_covers_the_weights_and_grows_with_the_batch(
    unmeasured: None,
) -> None:
    small, large = (
        planned(asked(settings={"steps": 5, "batch_size": size, "ngram_embedding": 0}))
        for size in (1, 100)
    )
    assert small.estimate.memory_bytes is not None
    assert large.estimate.memory_bytes is not None
    assert small.estimate.memory_bytes > 16 * parameter_count(small.plan.model)
    assert large.estimate.memory_bytes > 2 * small.estimate.memory_bytes


MEASURED = """
import os, re, sys
from charrnn.training import setup
begin, leave = setup.begin, os._exit
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
def measured(folder, asked, planned, *rest):
    before, estimated = peak(), planned.estimate.memory_bytes
    def tell(code):
        os.write(2, f"{estimated} {peak() - before}".encode())
        leave(code)
    os._exit = tell
    return begin(folder, asked, planned, *rest)
setup.begin = measured
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("output", ["--adaptive", "--no-adaptive"])
def test_the_estimate_of_memory_is_within_a_factor_of_two_of_what_words_take(
    output: str, tmp_path: Path
) -> None:
    """Where scoring takes far more than a step does.

    A narrow model of many words, in small batches.
    """
    text = tmp_path / "words.txt"
    text.write_text(12 * " ".join(f"w{number}" for number in range(3000)))
    options = arguments(tokenizer="word", vocab_size=3000, valid=text, **SETTINGS | {"steps": 2})
    run = process(
        MEASURED + CHARRNN, "train", text, "--out", tmp_path / "run", "--quiet", output, *options
    )
    assert run.code == 0, run.err
    estimated, taken = map(int, run.err.split())
    assert taken / 2 < estimated < 2 * taken


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {"batcher": "random", "seq_len": 1500, "batch_size": 100},
            "`seq_len` 1500 and `batch_size` 100",
        ),
        ({"batch_size": 2, "bptt": "full", "hidden_size": 4096}, "`bptt` full and `batch_size` 2"),
    ],
    ids=["long sequences", "whole streams"],
)
def test_too_little_memory_is_found_out_before_anything_is_allocated(
    settings: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(settings=settings | {"steps": 5, "device": "cpu"})
    needed = planned(request).estimate.memory_bytes
    assert needed is not None
    monkeypatch.setattr(memory, "free_memory", lambda _: needed)
    planned(request)
    monkeypatch.setattr(memory, "free_memory", lambda _: needed - 1)
    with pytest.raises(
        MachineError, match=r"needs about [\d,.]+ GB of memory; [\d,.]+ GB are free"
    ) as caught:
        planned(request)
    assert named in caught.value.message
    assert "`seq_len`" in caught.value.hint


def test_sequences_longer_than_the_text_need_no_more_memory_than_the_text(unmeasured: None) -> None:
    shorter, longer = (
        planned(asked(settings={"steps": 5, "batch_size": 2, "seq_len": size, **more}))
        for size, more in ((len(TRAIN.ids) // 2, {}), (1 << 20, {"bptt": "full"}))
    )
    assert shorter.estimate.memory_bytes == longer.estimate.memory_bytes


def test_the_speed_is_that_of_most_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a quarter of a second when read, and by two in the first step."""
    reads = iter([0.0, 0.0, 2.0, *(2.0 + 0.25 * count for count in range(1000))])
    monkeypatch.setattr(
        "charrnn.training.throughput.time", SimpleNamespace(monotonic=lambda: next(reads))
    )
    model = ModelConfig(vocab_size=TOKENIZER.size, hidden_size=8, embedding_size=4, num_layers=1)
    config = TrainConfig(batch_size=2, seq_len=4)
    data = EncodedSplit("text", "", PLAIN, TOKENIZER, TRAIN, VALID)
    found = measure_throughput(model, config, "fp32", data)
    assert found.step == pytest.approx(0.25)
    # a step trains on 8 tokens, and scoring takes a quarter of a second too
    assert found.evaluation == pytest.approx(0.25 * len(VALID.ids) / (SCORED_STEPS * 8))


@pytest.mark.parametrize(
    ("threads", "described"), [(1, "cpu with 1 thread"), (2, "cpu with 2 threads")]
)
def test_a_plan_names_the_device_for_a_person(
    unmeasured: None, threads: int, described: str
) -> None:
    before = torch.get_num_threads()
    try:
        settings = {"steps": 5, "device": "cpu", "threads": threads}
        assert planned(asked(settings=settings)).estimate.device == described
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("unmeasured")
def test_a_student_has_less_dropout_unless_it_is_given() -> None:
    alone, taught, given = (
        plan_of(asked(epochs=12.0, settings=settings, teacher=teacher)).model
        for settings, teacher in (({}, None), ({}, "a"), ({"dropout": 0.4}, "a"))
    )
    assert taught.dropout == pytest.approx(STUDENT_DROPOUT * alone.dropout, abs=1e-3)
    assert given.dropout == 0.4
