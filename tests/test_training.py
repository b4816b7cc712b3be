import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SETTINGS, TEXT, encoded, read
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ACTIVATIONS, ModelConfig
from charrnn.config.sampling import SamplingConfig
from charrnn.config.training import BATCHERS, OPTIMIZERS, TrainConfig
from charrnn.data.batching.base import Batch
from charrnn.data.encoding import EncodedSplit, encode_text
from charrnn.data.formats import PLAIN
from charrnn.errors import DivergedError
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_model import NumpyModel
from charrnn.sampling.generate import GenerationRequest, Generator
from charrnn.training.events import Evaluated, RunEvent, Trained
from charrnn.training.optimizer import Optimizer
from charrnn.training.progress import Progress
from charrnn.training.schedule import learning_rate
from charrnn.training.step import clip_gradients, train_step
from charrnn.training.trainer import INITIAL_SCALE, Trainer

MODEL_FIELDS = ("hidden_size", "embedding_size", "num_layers")
# sixty characters in which the next one follows from the last few
SENTENCE = "one two three four five six seven eight nine ten and begin. "


def configs(vocab_size: int, **settings: Any) -> tuple[ModelConfig, TrainConfig]:
    chosen = SETTINGS | settings
    model_names = {*MODEL_FIELDS, "cell", "activation", "dropout", "residual", "tied", "layer_norm"}
    shape = {name: value for name, value in chosen.items() if name in model_names}
    rest = {name: value for name, value in chosen.items() if name not in model_names}
    return ModelConfig(vocab_size=vocab_size, **shape), TrainConfig(**rest)


def trainer(text: str = TEXT, **settings: Any) -> Trainer:
    data = read(text)
    shape, config = configs(data.tokenizer.size, **settings)
    return Trainer(build(shape, config.seed), data, config, config.precision)


def parameters(model: CharRNN) -> dict[str, Any]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Train three good steps; from the fourth on, the loss is not a number."""
    one, good = trainer(eval_every=2), functional.cross_entropy
    events = one.run()
    while one.progress.step < 3:
        next(events)
    monkeypatch.setattr(
        functional, "cross_entropy", lambda *args, **kwargs: good(*args, **kwargs) * math.nan
    )
    return one


@pytest.mark.parametrize("batcher", BATCHERS)
@pytest.mark.parametrize(
    ("cell", "activation"),
    [("rnn", a) for a in ACTIVATIONS] + [(cell, "tanh") for cell in CELLS if cell != "rnn"],
)
def test_a_short_text_is_learned_by_heart(cell: str, activation: str, batcher: str) -> None:
    tokenizer, train = encoded(SENTENCE * 6)
    shape, config = configs(
        tokenizer.size,
        cell=cell,
        activation=activation,
        batcher=batcher,
        hidden_size=24,
        embedding_size=12,
        batch_size=4,
        seq_len=30,
        steps=800 if activation == "sigmoid" else 150,
        lr=3e-2,
        eval_every=150,
        weight_decay=0,
    )
    model, valid = build(shape, 1), encode_text(tokenizer, SENTENCE)
    data = EncodedSplit("text", "", PLAIN, tokenizer, train, valid)
    events = list(Trainer(model, data, config, "fp32").run())
    losses = [event.loss for event in events if isinstance(event, Trained)]
    assert losses[0] == pytest.approx(math.log(tokenizer.size), rel=0.25)
    # random windows begin anywhere, and what comes first in one cannot be known
    assert losses[-1] < (0.01 if batcher == "sequential" else 0.25)
    generator = Generator(NumpyModel(shape, parameters(model)), tokenizer, None)
    rules = SamplingConfig(temperature=0.0, length=len(SENTENCE))
    written = GenerationRequest(generator, "one two th", rules, seed=0, num=1).pieces(0)
    assert "".join(written) == (SENTENCE * 2)[10 : 10 + len(SENTENCE)]


RATES = dict.fromkeys(OPTIMIZERS, 0.05) | {"sgd": 1.0}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_character_alone_is_certain_in_the_end(optimizer: str) -> None:
    one = trainer("a" * 200, optimizer=optimizer, steps=80, lr=RATES[optimizer], eval_every=80)
    *_, last = one.run()
    assert isinstance(last, Evaluated)
    assert last.score.perplexity == pytest.approx(1, abs=0.01)


def test_events_come_in_order_and_count() -> None:
    one = trainer(steps=12, eval_every=5, batch_size=2, seq_len=10)
    events = list(one.run())
    order = [(type(event).__name__, event.step) for event in events]
    expected = [
        (kind, step)
        for step in range(1, 13)
        for kind in ("Trained", "Evaluated")
        if kind == "Trained" or step in (5, 10, 12)
    ]
    assert order == expected
    taken = [event for event in events if isinstance(event, Trained)]
    assert [event.tokens for event in taken] == [20 * step for step in range(1, 13)]
    assert [event.lr for event in taken] == [learning_rate(step, one.config) for step in range(12)]


def test_the_best_score_is_known_by_its_step() -> None:
    one = trainer(steps=30, eval_every=2, lr=0.05)
    scores = {event.step: event for event in one.run() if isinstance(event, Evaluated)}
    best = min(scores, key=lambda step: scores[step].score.nats_per_token)
    assert (one.progress.best_step, one.progress.best_nats) == (
        best,
        scores[best].score.nats_per_token,
    )
    lowest = math.inf
    for event in scores.values():
        assert event.best == (event.score.nats_per_token < lowest)
        lowest = min(lowest, event.score.nats_per_token)


def with_scores(
    one: Trainer, nats: list[float], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunEvent]:
    """Run, with validation scores that were written beforehand."""
    real, waiting = one.evaluate().score, iter(nats)
    one.progress = type(one.progress)()
    monkeypatch.setattr(
        "charrnn.training.trainer.score_unless_stopped",
        lambda *_, **__: replace(real, nats=next(waiting), tokens=1),
    )
    return one.run()


@pytest.mark.parametrize(
    ("nats", "stopped_at"),
    [
        ([5, 4, 3, 2, 1], 10),
        ([5, 6, 7], 6),
        ([5, 6, 4, 5, 3], 10),
        ([5, 5, 5, 5, 5], 6),
        ([5, 6, 4, 4.5, 4.1], 10),
    ],
    ids=[
        "ever better",
        "never better",
        "better in time",
        "equal is not better",
        "out of patience at the end",
    ],
)
def test_patience_counts_evaluations_since_the_best(
    nats: list[float], stopped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(steps=10, eval_every=2, patience=2)
    *_, last = with_scores(one, nats, monkeypatch)
    assert isinstance(last, Evaluated)
    assert last.step == stopped_at
    assert one.finished
    assert one.progress.best_nats == min(nats)


@pytest.mark.parametrize("cell", CELLS)
def test_evaluating_more_often_leaves_the_weights_as_they_are(cell: str) -> None:
    ends = []
    for every, evaluations in ((1, 12), (5, 3), (100, 1)):
        one = trainer(cell=cell, dropout=0.3, steps=12, eval_every=every)
        assert sum(isinstance(event, Evaluated) for event in one.run()) == evaluations
        assert one.model.training
        ends.append(parameters(one.model))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])


def test_a_loss_that_is_not_finite_moves_nothing(diverging: Trainer) -> None:
    before, at = parameters(diverging.model), diverging.batcher
    with pytest.raises(DivergedError, match="the loss became nan at step 4"):
        list(diverging.run())
    assert same(before, parameters(diverging.model))
    assert diverging.progress.step == 3
    assert diverging.batcher is at


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    one = trainer()
    before = parameters(one.model)
    one.model.head_bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match="the gradient is no longer finite at step 1"):
        list(one.run())
    assert same(before, parameters(one.model))


def test_a_validation_loss_that_is_not_finite_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(steps=4, eval_every=2)
    with pytest.raises(DivergedError, match="validation scored inf nats at step 2"):
        list(with_scores(one, [math.inf], monkeypatch))
    assert one.progress.best_step == 0


@pytest.mark.parametrize("batcher", BATCHERS)
def test_a_huge_learning_rate_ends_before_the_weights_are_lost(batcher: str) -> None:
    one = trainer(
        batcher=batcher, optimizer="adamw", lr=1e9, layer_norm=False, cell="rnn", activation="relu"
    )
    with pytest.raises(DivergedError):
        list(one.run())
    assert all(np.isfinite(value).all() for value in parameters(one.model).values())


def first_gradient(model: CharRNN, batch: Batch, factor: float = 1.0) -> float:
    """Leave the loss's gradient in the model, as the textbook computes it; return its norm."""
    logits, _ = model(batch.inputs)
    chosen = torch.log_softmax(logits, -1).gather(-1, batch.targets[..., None])
    (-chosen.mean() * factor).backward()
    return math.sqrt(
        sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None)
    )


def test_the_norm_that_is_told_is_the_one_before_clipping() -> None:
    one = trainer(clip_norm=1e-3)
    batch = trainer().batcher.next_batch()
    expected = first_gradient(build(one.model.config, one.config.seed), batch)
    assert one.train_once().grad_norm == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-2


def test_clipping_by_norm_keeps_the_direction() -> None:
    one = trainer(clip_norm=0.01)
    norm = first_gradient(one.model, one.batcher.next_batch())
    before = {
        name: p.grad.clone() for name, p in one.model.named_parameters() if p.grad is not None
    }
    assert clip_gradients(one.model, one.config).item() == pytest.approx(norm, rel=1e-4)
    for name, parameter in one.model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, before[name] * (0.01 / norm), rtol=1e-4, atol=1e-9
        )


def test_clipping_by_value_bounds_each_entry_and_zero_is_off() -> None:
    one = trainer(clip_norm=0, clip_value=0.001)
    first_gradient(one.model, one.batcher.next_batch())
    before = {
        name: p.grad.clone() for name, p in one.model.named_parameters() if p.grad is not None
    }
    assert max(float(gradient.abs().max()) for gradient in before.values()) > 0.001
    clip_gradients(one.model, replace(one.config, clip_value=0.0))
    assert all(
        torch.equal(p.grad, before[name])
        for name, p in one.model.named_parameters()
        if p.grad is not None
    )
    clip_gradients(one.model, one.config)
    for name, parameter in one.model.named_parameters():
        assert torch.equal(parameter.grad, before[name].clamp(-0.001, 0.001))


def test_a_step_is_plain_gradient_descent_when_the_optimizer_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = trainer(clip_norm=0)
    batch = one.batcher.next_batch()
    expected = build(one.model.config, one.config.seed)
    first_gradient(expected, batch)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.sub_(0.1 * parameter.grad)  # type: ignore[operator]

    def descend(optimizer: Optimizer, lr: float) -> None:
        with torch.no_grad():
            for parameter in one.model.parameters():
                parameter.sub_(lr * parameter.grad)  # type: ignore[operator]

    monkeypatch.setattr(Optimizer, "step", descend)
    train_step(one.gradients, one.optimizer, batch, None, one.config, lr=0.1)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(one.model.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in one.model.parameters())


def test_with_a_stride_each_target_counts_once_and_the_state_moves_by_the_stride() -> None:
    """While the weights stand still, overlapping windows have together the loss of one pass."""
    one = trainer(bptt_stride=4, seq_len=12, batch_size=1, steps=20)
    one.optimizer.step = lambda lr: None  # type: ignore[method-assign]
    window = len(one.batcher.windows)  # type: ignore[attr-defined]
    nats, tokens = 0.0, 0
    begun = one.batcher.offsets[0, 0]  # type: ignore[attr-defined]
    ids = np.roll(read().train.ids, -begun).astype(np.int64)
    for _ in range(window):
        event = one.train_once()
        nats += event.loss * (event.tokens - tokens)
        tokens = event.tokens
    assert tokens == len(ids)
    inputs = torch.from_numpy(np.concatenate([[one.model.start], ids[:-1]]))[None]
    with torch.no_grad():
        logits, _ = one.model(inputs)
    expected = nn.CrossEntropyLoss(reduction="sum")(logits[0], torch.from_numpy(ids)).item()
    assert nats == pytest.approx(expected, rel=1e-4)


# --- fp16, whose loss is scaled


def fp16_trainer(**settings: Any) -> Trainer:
    """On a processor, which `choose_precision` refuses: its lstm has no fp16, but its gru has."""
    data = read()
    shape, config = configs(data.tokenizer.size, **{"cell": "gru"} | settings)
    return Trainer(build(shape, config.seed), data, config, "fp16")


def spoil(one: Trainer, *factors: float) -> None:
    """Multiply some gradients by these factors, a step each; then leave them alone."""
    waiting = iter(factors)
    one.model.head_bias.register_hook(lambda gradient: gradient * next(waiting, 1.0))


def test_an_overflow_lowers_the_scale_and_moves_nothing() -> None:
    one = fp16_trainer()
    spoil(one, math.inf, math.nan)
    before = parameters(one.model), {k: v.clone() for k, v in one.optimizer.state().items()}
    for count in (1, 2):
        event = one.train_once()
        assert (event.step, event.tokens) == (count, count * 3 * 16), "the text goes on"
        assert not math.isfinite(event.grad_norm)
        assert one.scaler.get_scale() == INITIAL_SCALE / 2**count
        assert same(parameters(one.model), before[0])
        assert all(torch.equal(v, before[1][k]) for k, v in one.optimizer.state().items())
        assert all(parameter.grad is None for parameter in one.model.parameters())
    assert math.isfinite(one.train_once().grad_norm)
    assert one.scaler.get_scale() == INITIAL_SCALE / 4
    assert not same(parameters(one.model), before[0])


def test_a_gradient_that_overflows_at_any_scale_is_divergence() -> None:
    one = fp16_trainer(steps=100)
    halvings = int(math.log2(INITIAL_SCALE))
    spoil(one, *[math.inf] * 100)
    before = parameters(one.model)
    for _ in range(halvings):
        one.train_once()
    assert one.scaler.get_scale() == 1
    with pytest.raises(DivergedError, match=f"no longer finite at step {halvings + 1}"):
        one.train_once()
    assert same(parameters(one.model), before)


def test_what_no_scale_can_help_is_divergence_at_once(diverging: Trainer) -> None:
    diverging.scaler = diverging.gradients.scaler = GradScaler("cpu")
    with pytest.raises(DivergedError, match="the loss became nan at step 4"):
        diverging.train_once()


def test_a_gradient_whose_norm_alone_is_too_large_is_divergence_at_once() -> None:
    one = fp16_trainer()
    spoil(one, 1e30)
    before = parameters(one.model)
    with pytest.raises(DivergedError, match="the gradient is no longer finite at step 1"):
        one.train_once()
    assert same(parameters(one.model), before)


def test_the_scale_grows_after_steps_without_an_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.training.trainer.SCALE_GROWTH_STEPS", 3)
    one = fp16_trainer()
    spoil(one, 1.0, 1.0, math.inf)  # which begins the count anew
    scales = []
    for _ in range(9):
        one.train_once()
        scales.append(one.scaler.get_scale() / INITIAL_SCALE)
    assert scales == [1, 1, 0.5, 0.5, 0.5, 1, 1, 1, 2]


@pytest.mark.parametrize(
    "settings", [{"clip_norm": 0.01}, {"clip_value": 0.001}, {"accumulate": 2}]
)
def test_a_scale_alone_changes_no_bit(settings: dict[str, Any]) -> None:
    plain, scaled = (trainer(batch_size=4, **settings) for _ in range(2))
    scaled.scaler = scaled.gradients.scaler = GradScaler("cpu", init_scale=1024.0)
    assert [plain.train_once() for _ in range(4)] == [scaled.train_once() for _ in range(4)]
    assert same(parameters(plain.model), parameters(scaled.model))


def test_fp16_learns_about_what_fp32_learns() -> None:
    fp16, fp32 = fp16_trainer(), trainer(cell="gru")
    for _ in range(5):
        half, single = fp16.train_once(), fp32.train_once()
        assert half.loss == pytest.approx(single.loss, rel=0.01)
        assert half.grad_norm == pytest.approx(single.grad_norm, rel=0.05)
    assert half != single
    assert fp16.evaluate().score.nats == pytest.approx(fp32.evaluate().score.nats, rel=0.01)


def file_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a state's facts as a file gives them back."""
    return json.loads(json.dumps(facts, allow_nan=False))  # type: ignore[no-any-return]


@pytest.mark.parametrize("taken", [0, 3, 6], ids=["at the start", "amid a count", "grown"])
def test_a_restored_fp16_training_goes_on_to_the_same_bits(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.training.trainer.SCALE_GROWTH_STEPS", 4)
    one, other = fp16_trainer(dropout=0.3), fp16_trainer(dropout=0.3)
    if taken:
        spoil(one, 1.0, math.inf)
    spoil(other, math.inf)
    other.train_once()  # what its scaler makes of that is to be forgotten
    for _ in range(taken):
        one.train_once()
    scale = {0: INITIAL_SCALE, 3: INITIAL_SCALE / 2, 6: INITIAL_SCALE}[taken]
    assert one.scaler.get_scale() == scale

    arrays, facts = one.state()
    expected, (end_arrays, end_facts) = [one.train_once() for _ in range(5)], one.state()
    other.restore(arrays, file_facts(facts))
    assert other.scaler.state_dict() == facts["scaler"]
    assert [other.train_once() for _ in range(5)] == expected
    found_arrays, found_facts = other.state()
    assert same(found_arrays, end_arrays)
    assert found_facts == end_facts


@pytest.mark.parametrize("make", [trainer, fp16_trainer], ids=["fp32", "fp16"])
def test_a_state_from_before_the_scaler_still_loads(make: Callable[..., Trainer]) -> None:
    one, other = make(cell="gru"), make(cell="gru")
    one.train_once()
    arrays, facts = one.state()
    old = file_facts(facts) | {
        "progress": facts["progress"] | {"loss_scale": 8.0, "quiet_steps": 1}
    }
    del old["scaler"]
    other.restore(arrays, old)
    assert other.progress == one.progress
    assert other.scaler.get_scale() == (INITIAL_SCALE if make is fp16_trainer else 1.0)
    assert other.train_once() == one.train_once()


@pytest.mark.parametrize(
    "wrong", [{"scale": -1.0}, {"scale": "1"}, {"scale": math.inf}, {"more": 1}], ids=str
)
def test_a_scale_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    one = fp16_trainer()
    arrays, facts = one.state()
    with pytest.raises(ValueError, match="loss scale does not fit"):
        one.restore(arrays, facts | {"scaler": facts["scaler"] | wrong})


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"step": -1}, ValueError), ({"step": 1.0}, ValueError), ({"steps": 1}, TypeError)],
    ids=str,
)
def test_a_progress_that_cannot_be_is_refused(wrong: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        Progress.from_dict(Progress().to_dict() | wrong)
    assert Progress.from_dict(Progress().to_dict()) == Progress()


@pytest.mark.parametrize(
    ("steps", "expected"), [(36, [17, 36]), (34, [17, 34]), (40, [17, 34, 40]), (39, [17, 34, 39])]
)
def test_nothing_is_validated_just_before_the_end(steps: int, expected: list[int]) -> None:
    events = trainer(steps=steps, eval_every=17).run()
    assert [event.step for event in events if isinstance(event, Evaluated)] == expected
