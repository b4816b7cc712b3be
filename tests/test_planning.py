"""Plans for requests of every kind, on a machine whose speed is made up."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import SETTINGS, arguments
from terminal import CHARRNN, process

from charrnn.config.presets import LONG_TEXT, PRESETS, most_epochs, shape_settings, suitable_dropout
from charrnn.config.schema import ModelConfig, TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.text import encode
from charrnn.errors import MachineError, UsageError
from charrnn.model.shapes import parameter_count
from charrnn.tokenizers import CharTokenizer
from charrnn.training import plan as plan_module
from charrnn.training.plan import Plan, Request, make_plan, with_steps
from charrnn.training.throughput import SECONDS_TO_LEAVE, WARM, Speed, measure_speed

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
TOKENIZER = CharTokenizer.train(TEXT)
TRAIN, VALID = encode(TOKENIZER, TEXT), encode(TOKENIZER, TEXT[:200])
NOW = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes while a plan is made."""
    monkeypatch.setattr(plan_module, "time", SimpleNamespace(monotonic=lambda: NOW))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> Speed:
        raise AssertionError("nothing in this plan depends on the machine's speed")

    monkeypatch.setattr(plan_module, "measure_speed", measure)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make up how long a step and an evaluation take."""

    def pretend(step: float, evaluation: float = 0.1) -> None:
        monkeypatch.setattr(plan_module, "measure_speed", lambda *_: Speed(step, evaluation))

    return pretend


def plan_of(request: Request, *, started: float = NOW, **others: Any) -> Plan:
    return make_plan(request, TOKENIZER, TRAIN, VALID, started=started, **others)


def tokens_of(config: TrainConfig) -> list[int]:
    """Count the tokens that each step of this configuration really learns from."""
    batcher = make_batcher(TRAIN.ids, config, start=TOKENIZER.size)
    batches = (batcher.next_batch() for _ in range(config.steps))
    return [batch.targets[:, batch.scored_from :].numel() for batch in batches]


@pytest.mark.usefixtures("unmeasured")
def test_a_number_of_steps_is_taken_as_it_is() -> None:
    plan = plan_of(Request(settings={"steps": 123}))
    assert plan.train.steps == 123
    assert plan.total_seconds is None
    assert plan.train.eval_every <= 123


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
    plan = plan_of(Request(epochs=epochs, settings=settings))
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
    plan = plan_of(Request(epochs=20, settings=settings))
    assert plan.epochs == pytest.approx(20, abs=0.1)
    assert sum(tokens_of(plan.train)) / len(TRAIN.ids) == pytest.approx(20, rel=0.02)


@pytest.mark.usefixtures("unmeasured")
def test_a_cells_own_settings_hold_unless_others_are_given() -> None:
    usual, own, given = (
        plan_of(Request(settings={"steps": 5} | settings)).model
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
        plan = plan_of(Request(epochs=epochs))
        assert plan.model.dropout == suitable_dropout(
            plan.epochs, parameter_count(plan.model), len(TRAIN.ids)
        )


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.2}, {"cell": "mingru"}, {"cell": "gru"}], ids=str
)
def test_a_plan_with_other_steps_is_the_plan_that_would_have_been_made_for_them(
    settings: dict[str, Any],
) -> None:
    first, other = (
        plan_of(Request(settings=settings | {"steps": steps, "eval_every": 9}))
        for steps in (20, 400)
    )
    assert with_steps(first, 400, len(TRAIN.ids), settings) == other
    assert (first.model == other.model) == (
        settings.get("dropout") is not None or settings.get("cell") == "mingru"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_text_is_as_long_as_its_characters_however_few_symbols_they_make(
    speed: Any, preset: str
) -> None:
    speed(1e-6, 1e-6)
    words = replace(TRAIN, characters=LONG_TEXT)
    plan = make_plan(Request(preset=preset), TOKENIZER, words, VALID, started=NOW)
    shape = shape_settings(PRESETS[preset], LONG_TEXT)
    assert {"hidden_size": plan.model.hidden_size, "batch_size": plan.train.batch_size} == shape
    assert plan.epochs == pytest.approx(most_epochs(LONG_TEXT), rel=0.05)
    assert plan.model.dropout == suitable_dropout(
        plan.epochs, parameter_count(plan.model), LONG_TEXT
    )


def test_bytes_count_as_characters(speed: Any) -> None:
    speed(1e-6, 1e-6)
    accented = replace(TRAIN, characters=len(TRAIN.ids) // 2)
    assert make_plan(Request(), TOKENIZER, accented, VALID, started=NOW) == plan_of(Request())


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
    plan = plan_of(Request(settings=EXPLICIT, **length))
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
        plan = plan_of(Request(preset=preset, seconds=120.0))
        assert plan.total_seconds is not None
        assert 0.9 * 120 < plan.total_seconds <= 120
        assert plan.total_seconds == pytest.approx(plan.train.steps * step, rel=0.1)
        taken.append(plan.train.steps)
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

    def measure(*_: object) -> Speed:
        tried.append(torch.get_num_threads())
        return Speed(seconds[tried[-1]], 0.1)

    monkeypatch.setattr(plan_module, "measure_speed", measure)
    monkeypatch.setattr(plan_module, "idle_cores", lambda: idle)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        plan = plan_of(Request(settings={"device": "cpu"} | settings, seconds=100.0))
        assert (plan.train.threads, len(tried)) == (chosen, tries)
        assert torch.get_num_threads() == (chosen or 3)
        assert plan.device.startswith(f"cpu with {chosen or 3} thread")
        assert plan.train.steps == pytest.approx(99 / seconds[chosen or 3], rel=0.1)
    finally:
        torch.set_num_threads(before)


def test_time_is_left_for_the_last_evaluation(speed: Any) -> None:
    speed(0.1, 3.0)
    assert plan_of(Request(seconds=100.0)).ending == 3.0 + SECONDS_TO_LEAVE


def test_time_that_has_passed_counts(speed: Any) -> None:
    speed(0.1)
    late, early = (
        plan_of(Request(seconds=100.0), started=NOW - passed).train.steps for passed in (60, 0)
    )
    assert late == pytest.approx(0.4 * early, rel=0.05)


@pytest.mark.parametrize(("step", "evaluation"), [(1e3, 0.1), (0.1, 1e3), (1e3, 1e3)])
def test_however_slow_the_machine_there_are_ten_steps_and_an_evaluation(
    speed: Any, step: float, evaluation: float
) -> None:
    speed(step, evaluation)
    plan = plan_of(Request(seconds=5.0), started=NOW - 50)
    assert plan.train.steps == 10
    assert plan.train.eval_every <= 10


def test_evaluations_that_take_long_are_few(speed: Any) -> None:
    counts = []
    for evaluation in (0.01, 2.0, 30.0):
        speed(0.05, evaluation)
        plan = plan_of(Request(seconds=120.0))
        counts.append(math.ceil(plan.train.steps / plan.train.eval_every))
        assert counts[-1] * evaluation <= max(evaluation, 0.06 * 120)
    assert counts[0] > counts[1] >= counts[2] == 1


def test_a_preset_does_not_pass_over_the_text_for_ever_but_a_given_time_is_used(speed: Any) -> None:
    speed(1e-6, 1e-6)
    most = most_epochs(len(TRAIN.ids))
    for name in PRESETS:
        assert plan_of(Request(preset=name)).epochs == pytest.approx(most, rel=0.05)
    assert plan_of(Request(seconds=60.0)).epochs > 10 * most


def test_measuring_on_request_changes_nothing_but_the_estimate(speed: Any) -> None:
    speed(0.5, 2.0)
    request = Request(settings={"steps": 100, "eval_every": 30})
    with_estimate, without = plan_of(request, measure=True), plan_of(request)
    assert (with_estimate.model, with_estimate.train) == (without.model, without.train)
    assert with_estimate.total_seconds == 100 * 0.5 + 4 * 2.0
    assert without.total_seconds is None


def test_a_plan_is_a_function_of_the_request_and_the_speed(speed: Any) -> None:
    speed(0.2)
    assert plan_of(Request(preset="quick")) == plan_of(Request(preset="quick"))


BASE = ModelConfig(
    vocab_size=20, cell="gru", hidden_size=12, embedding_size=6, num_layers=1, dropout=0.4
)


@pytest.mark.usefixtures("unmeasured")
def test_a_model_to_start_from_gives_the_shape_and_the_text_its_vocabulary() -> None:
    """And the dropout is that of the new training, not of the one before."""
    plan = plan_of(Request(settings={"steps": 5, "hidden_size": 12}), base=BASE)
    dropout = suitable_dropout(plan.epochs, parameter_count(plan.model), len(TRAIN.ids))
    assert plan.model == ModelConfig(
        **BASE.to_dict() | {"vocab_size": TOKENIZER.size, "dropout": dropout}
    )


@pytest.mark.usefixtures("unmeasured")
def test_dropout_may_differ_from_the_model_to_start_from() -> None:
    assert plan_of(Request(settings={"steps": 5, "dropout": 0.1}), base=BASE).model.dropout == 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 16), ("cell", "lstm"), ("layer_norm", False), ("num_layers", 2)],
)
def test_another_shape_than_that_of_the_model_to_start_from_is_refused(
    name: str, value: Any
) -> None:
    with pytest.raises(
        UsageError, match=f"--{name.replace('_', '-')} cannot differ.*is {getattr(BASE, name)}"
    ):
        plan_of(Request(settings={"steps": 5, name: value}), base=BASE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_size": 3}, "Unknown setting 'hiden_size'"),
        ({"vocab_size": 3}, "--vocab-size must be at least 260"),
        ({"hidden_size": 0}, "--hidden-size must be at least 1"),
        ({"lr": -1.0}, "--lr must be greater than 0"),
        ({"tied": True, "embedding_size": 7, "hidden_size": 9}, "--tied needs"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_measured(
    unmeasured: None, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(Request(settings=settings))


@pytest.mark.usefixtures("unmeasured")
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="--device cuda"):
        plan_of(Request(settings={"device": "cuda"}))


@pytest.mark.parametrize(
    ("lengths", "names"),
    [
        ({"settings": {"steps": 5}, "epochs": 2.0}, "--steps and --epochs"),
        ({"epochs": 2.0, "seconds": 9.0}, "--epochs and --time"),
        (
            {"settings": {"steps": 5}, "epochs": 2.0, "seconds": 9.0},
            "--steps and --epochs and --time",
        ),
    ],
)
def test_a_length_given_twice_is_refused(lengths: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError, match=f"^{names} say") as caught:
        Request(**lengths)
    assert caught.value.hint


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(("field", "flag"), [("epochs", "--epochs"), ("seconds", "--time")])
def test_a_length_that_makes_no_sense_is_refused(field: str, flag: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{flag} must be greater than 0, not {value:g}"):
        Request(**{field: value})


def test_a_preset_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="'fast'"):
        Request(preset="fast")


def test_a_request_as_json_holds_what_was_given_and_nothing_else() -> None:
    assert Request().to_dict() == {}
    request = Request(
        settings={"lr": 0.1, "patience": 3}, preset="quick", seconds=90.0, init_from="ab" * 32
    )
    expected = {
        "lr": 0.1,
        "patience": 3,
        "preset": "quick",
        "seconds": 90.0,
        "init_from": "ab" * 32,
    }
    assert json.loads(json.dumps(request.to_dict())) == expected


def test_the_estimate_of_memory_covers_the_weights_and_grows_with_the_batch(
    unmeasured: None,
) -> None:
    small, large = (
        plan_of(Request(settings={"steps": 5, "batch_size": size})) for size in (1, 100)
    )
    assert small.memory_bytes > 16 * parameter_count(small.model)
    assert large.memory_bytes > 2 * small.memory_bytes


MEASURED = """
import atexit, re, sys
from charrnn.training import resume as starting
begin = starting.begin
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
def measured(folder, request, plan, *rest):
    before = peak()
    atexit.register(lambda: sys.stderr.write(f"{plan.memory_bytes} {peak() - before}"))
    return begin(folder, request, plan, *rest)
starting.begin = measured
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
            "--seq-len 1500 and --batch-size 100",
        ),
        ({"batch_size": 2, "bptt": "full", "hidden_size": 4096}, "--bptt full and --batch-size 2"),
    ],
    ids=["long sequences", "whole streams"],
)
def test_too_little_memory_is_found_out_before_anything_is_allocated(
    settings: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(Request(settings=settings | {"steps": 5, "device": "cpu"}))
    monkeypatch.setattr(plan_module, "free_memory", lambda _: plan.memory_bytes)
    plan_of(Request(settings=settings | {"steps": 5, "device": "cpu"}))
    monkeypatch.setattr(plan_module, "free_memory", lambda _: plan.memory_bytes - 1)
    with pytest.raises(
        MachineError, match=r"needs about [\d,.]+ GB of memory; [\d,.]+ GB are free"
    ) as caught:
        plan_of(Request(settings=settings | {"steps": 5, "device": "cpu"}))
    assert named in caught.value.message
    assert "--seq-len" in caught.value.hint


def test_sequences_longer_than_the_text_need_no_more_memory_than_the_text(unmeasured: None) -> None:
    shorter, longer = (
        plan_of(Request(settings={"steps": 5, "batch_size": 2, "seq_len": size, **more}))
        for size, more in ((len(TRAIN.ids) // 2, {}), (1 << 20, {"bptt": "full"}))
    )
    assert shorter.memory_bytes == longer.memory_bytes


def test_the_speed_is_that_of_most_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a quarter of a second whenever it is read, but by two in the first step."""
    reads = iter([0.0, 0.0, 2.0, *(2.0 + 0.25 * count for count in range(1000))])
    monkeypatch.setattr(
        "charrnn.training.throughput.time", SimpleNamespace(monotonic=lambda: next(reads))
    )
    model = ModelConfig(vocab_size=TOKENIZER.size, hidden_size=8, embedding_size=4, num_layers=1)
    config = TrainConfig(batch_size=2, seq_len=4)
    found = measure_speed(model, config, "fp32", TOKENIZER, TRAIN, VALID)
    assert found.step == pytest.approx(WARM * 0.25)
    # a step trains on 8 tokens; scoring one costs less than half of training on one, and more than
    # a quarter
    assert 0.25 < found.evaluation / (found.step * len(VALID.ids) / 8) < 0.5


@pytest.mark.parametrize(
    ("threads", "described"), [(1, "cpu with 1 thread"), (2, "cpu with 2 threads")]
)
def test_a_plan_names_the_device_for_a_person(
    unmeasured: None, threads: int, described: str
) -> None:
    before = torch.get_num_threads()
    try:
        assert (
            plan_of(Request(settings={"steps": 5, "device": "cpu", "threads": threads})).device
            == described
        )
    finally:
        torch.set_num_threads(before)
