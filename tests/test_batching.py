"""Batches of the text 0, 1, 2, ...: every symbol says where it comes from."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from charrnn.config.model import ModelConfig
from charrnn.config.training import BPTT_MODES, TrainConfig
from charrnn.data.batching import BATCHERS, make_batcher
from charrnn.data.batching.base import Batch, Batcher
from charrnn.data.batching.random import RandomBatcher
from charrnn.data.batching.sequential import SequentialBatcher
from charrnn.data.batching.windows import seq_len_at, windows
from charrnn.errors import TextError
from charrnn.model.network import build
from charrnn.training.optimizer import Optimizer
from charrnn.training.step import GradientComputer, StepResult, train_step

LENGTHS = st.integers(2, 200)
SIZES = st.integers(1, 250)  # of batches and sequences: also larger than the text
SEEDS = st.integers(0, (1 << 63) - 1)


@st.composite
def sequential_configs(draw: st.DrawFn) -> TrainConfig:
    seq_len, stride = draw(SIZES), None
    bptt = draw(st.sampled_from([*BPTT_MODES, "stride"]))
    if bptt == "stride":
        bptt, stride = "fixed", draw(st.integers(1, seq_len))
    return TrainConfig(
        batch_size=draw(SIZES), seq_len=seq_len, bptt=bptt, bptt_stride=stride, seed=draw(SEEDS)
    )


@st.composite
def any_config(draw: st.DrawFn) -> TrainConfig:
    if draw(st.booleans()):
        return draw(sequential_configs())
    return TrainConfig(
        batcher="random", batch_size=draw(SIZES), seq_len=draw(SIZES), seed=draw(SEEDS)
    )


def batcher_of(length: int, config: TrainConfig) -> Batcher:
    return make_batcher(np.arange(length), config, start=length)


def epoch(batcher: Batcher) -> list[Batch]:
    """Take the batches that belong together.

    From one that starts the streams to before the next that does.
    """
    found = [batcher.next_batch()]
    while batcher.position()["index"]:
        found.append(batcher.next_batch())
    return found


def take(batcher: Batcher, count: int) -> list[Batch]:
    return [batcher.next_batch() for _ in range(count)]


def scored(batches: list[Batch]) -> np.ndarray:
    """Join the targets whose loss counts: (batch, stream length)."""
    return torch.cat([batch.targets[:, batch.scored_from :] for batch in batches], dim=1).numpy()


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.targets, other.targets)
        and (one.starts_stream, one.carry_at, one.scored_from)
        == (other.starts_stream, other.carry_at, other.scored_from)
        for one, other in zip(ours, theirs, strict=True)
    )


@given(length=LENGTHS, config=sequential_configs())
def test_an_epochs_batches_joined_are_the_text_turned(length: int, config: TrainConfig) -> None:
    """Each stream goes on where it was, each begins where the one above it ends.

    Less than a column is left out.
    """
    joined = scored(epoch(batcher_of(length, config))).flatten()
    assert np.array_equal(joined, (joined[0] + np.arange(len(joined))) % length)
    batch_size = min(config.batch_size, length // 2)
    assert length - batch_size < len(joined) <= length


@given(length=LENGTHS, config=sequential_configs())
def test_streams_start_at_an_epochs_first_batch_and_continue_in_the_others(
    length: int, config: TrainConfig
) -> None:
    batcher = batcher_of(length, config)
    for _ in range(2):
        batches = epoch(batcher)
        assert [batch.starts_stream for batch in batches] == [True] + [False] * (len(batches) - 1)
        assert (batches[0].inputs[:, 0] == length).all()
        assert batches[0].scored_from == 0
        for before, after in pairwise(batches):
            assert torch.equal(after.inputs[:, 0], before.targets[:, before.carry_at - 1])


@given(length=LENGTHS, config=any_config())
def test_the_inputs_are_the_targets_moved_by_one(length: int, config: TrainConfig) -> None:
    for batch in take(batcher_of(length, config), 5):
        assert batch.inputs.shape == batch.targets.shape
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        assert 0 <= batch.scored_from < batch.targets.shape[1]
        assert 1 <= batch.carry_at <= batch.targets.shape[1]
        assert ((batch.targets >= 0) & (batch.targets < length)).all()


@given(length=LENGTHS, config=any_config())
def test_memory_is_bounded_by_the_settings(length: int, config: TrainConfig) -> None:
    batch = batcher_of(length, config).next_batch()
    rows, steps = batch.targets.shape
    assert 1 <= rows <= config.batch_size
    assert steps <= (length if config.bptt == "full" else config.seq_len * 3 // 2 + 1)


@given(length=LENGTHS, config=any_config(), skipped=st.integers(0, 12), others=st.integers(0, 12))
def test_a_position_leads_to_the_same_batches_again(
    length: int, config: TrainConfig, skipped: int, others: int
) -> None:
    first, second = batcher_of(length, config), batcher_of(length, config)
    take(first, skipped)
    position = json.loads(json.dumps(first.position()))
    expected = take(first, 6)
    take(second, others)
    second.restore(position)
    assert second.position() == position
    assert same(take(second, 6), expected)


@pytest.mark.parametrize("name", BATCHERS)
def test_batches_are_a_function_of_the_seed_alone(name: str) -> None:
    def batches(seed: int) -> list[Batch]:
        return take(
            batcher_of(500, TrainConfig(batcher=name, batch_size=3, seq_len=10, seed=seed)), 40
        )

    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert same(batches(1), batches(1))
    assert not same(batches(1), batches(2))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_each_epoch_cuts_the_text_elsewhere() -> None:
    batcher = batcher_of(100, TrainConfig(batch_size=4, seq_len=10))
    begins = [int(epoch(batcher)[0].targets[0, 0]) for _ in range(20)]
    assert len(set(begins)) > 10
    assert (batcher.position()["epoch"], batcher.position()["index"]) == (20, 0)


@pytest.mark.parametrize(("seq_len", "lengths"), [(1, {1}), (2, {1, 2, 3}), (8, set(range(4, 13)))])
def test_random_lengths_lie_around_the_given_one_and_tile_the_stream(
    seq_len: int, lengths: set[int]
) -> None:
    cuts = windows(3000, TrainConfig(bptt="random", seq_len=seq_len), np.random.default_rng(1))
    assert [before[1] for before in cuts[:-1]] == [after[0] for after in cuts[1:]]
    assert (cuts[0][0], cuts[-1][1]) == (0, 3000)
    assert {end - begin for begin, end, _, _ in cuts[:-1]} == lengths
    assert all((carry, scored_from) == (end - begin, 0) for begin, end, carry, scored_from in cuts)


def test_random_lengths_differ_from_epoch_to_epoch() -> None:
    batcher = batcher_of(400, TrainConfig(batch_size=2, seq_len=10, bptt="random"))
    first, second = ([batch.carry_at for batch in epoch(batcher)] for _ in range(2))
    assert first != second


def test_without_truncation_an_epoch_is_one_batch() -> None:
    batcher = batcher_of(103, TrainConfig(batch_size=4, seq_len=10, bptt="full"))
    for batch in take(batcher, 3):
        assert batch.starts_stream
        assert batch.targets.shape == (4, 103 // 4)


@pytest.mark.parametrize(
    ("length", "seq_len", "stride", "expected"),
    [
        (12, 6, 2, [(0, 6, 2, 0), (2, 8, 2, 4), (4, 10, 2, 4), (6, 12, 2, 4)]),
        (11, 6, 4, [(0, 6, 4, 0), (4, 10, 4, 2), (8, 11, 3, 2)]),
        (6, 6, 2, [(0, 6, 2, 0)]),
        (5, 9, 2, [(0, 5, 2, 0)]),
        (7, 3, 3, [(0, 3, 3, 0), (3, 6, 3, 0), (6, 7, 1, 0)]),
    ],
    ids=[
        "whole windows",
        "a shorter one at the end",
        "one window",
        "a short text",
        "stride as long as the window",
    ],
)
def test_windows_with_a_stride(
    length: int, seq_len: int, stride: int, expected: list[tuple[int, ...]]
) -> None:
    config = TrainConfig(seq_len=seq_len, bptt_stride=stride)
    assert windows(length, config, np.random.default_rng(1)) == expected


@given(length=st.integers(1, 300), seq_len=SIZES, data=st.data())
def test_a_strides_windows_score_each_step_once_and_look_back_the_whole_length(
    length: int, seq_len: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, seq_len))
    cuts = windows(
        length, TrainConfig(seq_len=seq_len, bptt_stride=stride), np.random.default_rng(1)
    )
    steps = [
        step for begin, end, _, scored_from in cuts for step in range(begin + scored_from, end)
    ]
    assert steps == list(range(length))
    for (begin, end, carry, _), (following, *_) in pairwise(cuts):
        assert end - begin == min(seq_len, length)
        assert carry == following - begin == stride


@given(length=LENGTHS, batch_size=SIZES, seq_len=SIZES, seed=SEEDS)
def test_random_windows_are_pieces_of_the_text_from_a_state_of_zero(
    length: int, batch_size: int, seq_len: int, seed: int
) -> None:
    config = TrainConfig(batcher="random", batch_size=batch_size, seq_len=seq_len, seed=seed)
    for batch in take(batcher_of(length, config), 3):
        assert batch.targets.shape == (batch_size, min(seq_len, length))
        assert (batch.targets.diff(dim=1) == 1).all()
        assert (batch.inputs[:, 0] == length).all()
        assert (batch.starts_stream, batch.carry_at, batch.scored_from) == (
            True,
            min(seq_len, length),
            0,
        )


@pytest.mark.parametrize("seq_len", [1, 4, 9, 10, 11])
def test_random_windows_reach_every_place_in_the_text(seq_len: int) -> None:
    batches = take(batcher_of(10, TrainConfig(batcher="random", batch_size=50, seq_len=seq_len)), 4)
    assert {int(first) for batch in batches for first in batch.targets[:, 0]} == set(
        range(max(1, 10 - seq_len + 1))
    )
    assert {int(symbol) for batch in batches for symbol in batch.targets.flatten()} == set(
        range(10)
    )


@pytest.mark.parametrize("name", BATCHERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_ids_of_any_type_and_from_a_file_give_the_same_batches(
    name: str, dtype: type, tmp_path: Path
) -> None:
    config, ids = TrainConfig(batcher=name, batch_size=3, seq_len=7), np.arange(200) * 7 % 256
    expected = take(
        make_batcher(ids, config, start=256), 20
    )  # a start symbol that the narrowest type cannot hold
    assert same(take(make_batcher(ids.astype(dtype), config, start=256), 20), expected)
    ids.astype(dtype).tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", dtype=dtype, mode="r")
    assert same(take(make_batcher(mapped, config, start=256), 20), expected)


@given(length=LENGTHS, config=sequential_configs())
def test_the_steps_of_a_sequential_epoch_are_counted(length: int, config: TrainConfig) -> None:
    batcher = batcher_of(length, config)
    assert batcher.steps_per_epoch() == len(epoch(batcher_of(length, config)))


@given(length=LENGTHS, batch_size=SIZES, seq_len=SIZES)
def test_an_epoch_of_random_windows_is_as_many_symbols_as_the_text(
    length: int, batch_size: int, seq_len: int
) -> None:
    batcher = batcher_of(
        length, TrainConfig(batcher="random", batch_size=batch_size, seq_len=seq_len)
    )
    assert batcher.steps_per_epoch() * batcher.next_batch().targets.numel() == pytest.approx(length)


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("name", BATCHERS)
def test_a_text_with_nothing_to_learn_is_refused(name: str, length: int) -> None:
    with pytest.raises(TextError, match=f"has {length} symbols?; at least 2"):
        batcher_of(length, TrainConfig(batcher=name))


@pytest.mark.parametrize(
    ("name", "kind"), [("sequential", SequentialBatcher), ("random", RandomBatcher)]
)
def test_the_configuration_names_the_batcher(name: str, kind: type) -> None:
    assert isinstance(batcher_of(2, TrainConfig(batcher=name)), kind)


STRIDE, SEQ_LEN = 2, 6
UNSCALED = GradScaler("cpu", enabled=False)


class Recorder:
    """An optimizer that leaves the weights alone and keeps the gradients to be looked at."""

    def step(self, lr: float) -> None: ...

    def zero_grad(self) -> None: ...


def second_window() -> tuple[torch.nn.Module, Batch, Batch, Callable[..., StepResult]]:
    """A model, an epoch's first two overlapping batches, and the step that a trainer would take."""
    config = TrainConfig(
        batch_size=1, seq_len=SEQ_LEN, bptt_stride=STRIDE, clip_norm=0, optimizer="adamw"
    )
    model = build(ModelConfig(vocab_size=30, hidden_size=8, embedding_size=5), seed=1).double()
    batches = take(batcher_of(30, config), 2)

    def step(batch: Batch, state: tuple[Tensor, ...] | None, optimizer: Any = None) -> StepResult:
        model.zero_grad()
        gradients = GradientComputer(model, UNSCALED)
        return train_step(gradients, optimizer or Recorder(), batch, state, config, lr=0.1)

    return model, *batches, step


def test_a_gradient_reaches_back_the_whole_window_and_no_further() -> None:
    """Each symbol of the text is another row of the embedding: its gradient tells what is used."""
    model, first, second, step = second_window()
    state = step(first, None).carried
    assert not any(part.requires_grad for part in state)
    step(second, state)
    reached = model.embedding.weight.grad.abs().amax(dim=1).nonzero().flatten()
    assert second.inputs.shape == (1, SEQ_LEN)
    assert reached.tolist() == sorted(second.inputs[0].tolist())


def test_only_the_steps_that_are_new_are_scored() -> None:
    """The output layer's bias gets the scored steps' mean of probabilities minus targets."""
    model, first, second, step = second_window()
    state = step(first, None).carried
    step(second, state)
    with torch.no_grad():
        probabilities = model(second.inputs, state)[0][0, -STRIDE:].softmax(dim=-1)
    expected = (probabilities - functional.one_hot(second.targets[0, -STRIDE:], 30)).mean(dim=0)
    torch.testing.assert_close(model.head_bias.grad, expected, rtol=1e-5, atol=1e-7)


def test_a_step_with_overlapping_windows_equals_the_one_written_out() -> None:
    model, first, second, step = second_window()
    ours = step(first, None), step(second, step(first, None).carried)
    step(second, ours[0].carried)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]

    _, after_first = model(first.inputs[:, :STRIDE])
    carried = tuple(part.detach() for part in after_first)
    model.zero_grad()
    logits, _ = model(second.inputs, carried)
    loss = functional.cross_entropy(
        logits[0, SEQ_LEN - STRIDE :], second.targets[0, SEQ_LEN - STRIDE :]
    )
    loss.backward()
    _, after_second = model(second.inputs[:, :STRIDE], carried)

    assert ours[1].loss == pytest.approx(loss.item(), rel=1e-6)
    for one, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-5, atol=1e-7)
    for one, other in zip(ours[0].carried + ours[1].carried, carried + after_second, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-10, atol=1e-10)


def test_the_last_window_of_an_epoch_may_be_shorter_than_the_stride() -> None:
    config = TrainConfig(batch_size=1, seq_len=5, bptt_stride=4, optimizer="adamw")
    model = build(ModelConfig(vocab_size=15, hidden_size=8, embedding_size=5), seed=1)
    optimizer, state = Optimizer(model, config), None
    for batch in epoch(batcher_of(15, config)):
        gradients = GradientComputer(model, UNSCALED)
        step = train_step(gradients, optimizer, batch, state, config, lr=0.01)
        assert step.finite
        state = step.carried


@pytest.mark.parametrize(
    ("start", "end", "steps", "lengths"),
    [
        (4, 4, 10, [4] * 10),
        (None, 4, 3, [4] * 3),
        (1, 2, 8, [1] * 4 + [2] * 4),
        (4, 32, 12, [4] * 2 + [8] * 2 + [16] * 2 + [32] * 6),
        (3, 20, 12, [3] * 2 + [6] * 2 + [12] * 2 + [20] * 6),
        (1, 1024, 4, [1, 32, 1024, 1024]),
    ],
    ids=str,
)
def test_sequences_double_in_the_first_half(
    start: int | None, end: int, steps: int, lengths: list[int]
) -> None:
    config = TrainConfig(seq_len=end, seq_len_start=start, steps=steps)
    assert [seq_len_at(step, config) for step in range(steps)] == lengths
    assert seq_len_at(steps + 5, config) == end


@pytest.mark.parametrize("kind", ["sequential", "random"])
def test_a_curriculum_shapes_the_batches_and_is_found_again(kind: str) -> None:
    config = TrainConfig(batcher=kind, seq_len=16, seq_len_start=2, steps=60, batch_size=3)
    ids = np.random.default_rng(1).integers(0, 9, 200)
    whole = make_batcher(ids, config, start=9)
    batches, positions = [], []
    for _ in range(70):
        positions.append(json.loads(json.dumps(whole.position())))
        batches.append(whole.next_batch())
    wanted = [seq_len_at(step, config) for step in range(70)]
    shorter = [
        batch.targets.shape[1] < length for batch, length in zip(batches, wanted, strict=True)
    ]
    assert all(
        batch.targets.shape[1] <= length for batch, length in zip(batches, wanted, strict=True)
    )
    last = (
        {step for step in range(69) if batches[step + 1].starts_stream}
        if kind == "sequential"
        else set()
    )
    assert {step for step, less in enumerate(shorter) if less} <= last | {69}
    for step in (0, 1, 25, 31, 69):
        again = make_batcher(ids, config, start=9)
        again.restore(positions[step])
        for batch in batches[step:]:
            other = again.next_batch()
            assert torch.equal(other.inputs, batch.inputs)
            assert other.starts_stream == batch.starts_stream


@pytest.mark.parametrize(
    ("name", "place"),
    [("sequential", -1), ("sequential", 10_000), ("sequential", 0.5), ("random", -1)],
)
def test_a_place_that_does_not_exist_is_refused(name: str, place: Any) -> None:
    batcher = batcher_of(90, TrainConfig(batcher=name, batch_size=3, seq_len=7))
    with pytest.raises((ValueError, TypeError)):
        batcher.restore({"epoch": 0, "index": place})


@pytest.mark.parametrize("first_step", [-1, "1", 0.5])
def test_a_place_in_a_curriculum_that_cannot_be_is_refused(first_step: Any) -> None:
    batcher = make_batcher(
        np.arange(90), TrainConfig(seq_len=16, seq_len_start=2, batch_size=3), start=90
    )
    with pytest.raises((ValueError, TypeError)):
        batcher.restore({"epoch": 0, "index": 0, "first_step": first_step})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bptt": "full"},
        {"bptt": "random"},
        {"bptt_stride": 5},
        {"batcher": "random"},
        {"records": "lines"},
        {"records": "lines", "bptt": "full"},
    ],
    ids=str,
)
def test_the_shapes_are_those_of_the_batches(settings: dict[str, Any]) -> None:
    starts = np.array([0, 1, 4, 9, 11, 60, 62]) if "records" in settings else None
    config = TrainConfig(seq_len=16, batch_size=3, **settings)
    batcher = make_batcher(np.arange(90), config, 90, starts)
    expected = batcher.shapes()
    assert {
        tuple(batcher.next_batch().inputs.shape) for _ in range(int(batcher.steps_per_epoch()) or 1)
    } == expected


def test_a_curriculum_still_shows_each_symbol_once_in_an_epoch() -> None:
    config = TrainConfig(seq_len=16, seq_len_start=2, steps=40, batch_size=3)
    batcher = make_batcher(np.arange(90), config, start=90)
    seen = [batcher.next_batch().targets]
    while batcher.position()["epoch"] == 0:
        seen.append(batcher.next_batch().targets)
    assert sorted(torch.cat(seen, 1).flatten().tolist()) == list(range(90))
