"""Records in batches.

Every symbol once, nothing from one record to the next, and padding that counts for nothing.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.base import NO_TARGET, Batch
from charrnn.data.batching.records import RecordBatcher
from charrnn.errors import UsageError
from charrnn.model.network import CharRNN, build, detach
from charrnn.training.step import GradientComputer, StepResult, train_step

LENGTHS = st.lists(st.integers(1, 40), min_size=2, max_size=60)


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    seq_len, stride, bptt = (
        draw(st.integers(1, 30)),
        None,
        draw(st.sampled_from(["fixed", "random", "full", "stride"])),
    )
    if bptt == "stride":
        bptt, stride = "fixed", draw(st.integers(1, seq_len))
    sizes = {"batch_size": draw(st.integers(1, 20)), "seq_len": seq_len}
    return TrainConfig(
        records="lines", bptt=bptt, bptt_stride=stride, seed=draw(st.integers(0, 1 << 40)), **sizes
    )


def batcher_of(lengths: list[int], config: TrainConfig) -> RecordBatcher:
    """Records of these lengths, of the symbols 0, 1, 2, ...: each says where it stands."""
    starts = np.cumsum([0, *lengths[:-1]])
    batcher = make_batcher(np.arange(sum(lengths)), config, start=sum(lengths), starts=starts)
    assert isinstance(batcher, RecordBatcher)
    return batcher


def epoch(batcher: RecordBatcher) -> list[Batch]:
    return [batcher.next_batch() for _ in range(int(batcher.steps_per_epoch()))]


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return all(
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.targets, other.targets)
        and (one.starts_stream, one.carry_at, one.scored_from)
        == (other.starts_stream, other.carry_at, other.scored_from)
        for one, other in zip(ours, theirs, strict=True)
    )


@given(lengths=LENGTHS, config=configs())
def test_every_symbol_of_every_record_is_a_target_once_in_an_epoch(
    lengths: list[int], config: TrainConfig
) -> None:
    batcher = batcher_of(lengths, config)
    for number in range(1, 3):
        batches = epoch(batcher)
        assert batcher.epoch == number
        scored = torch.cat([batch.targets[:, batch.scored_from :].flatten() for batch in batches])
        assert sorted(scored[scored != NO_TARGET].tolist()) == list(range(sum(lengths)))
        assert sum(batch.tokens for batch in batches) == sum(lengths)
        assert all(batch.tokens for batch in batches), "no step without anything to learn"


@given(lengths=LENGTHS, config=configs())
def test_an_input_is_the_symbol_before_and_the_first_of_a_record_the_start_symbol(
    lengths: list[int], config: TrainConfig
) -> None:
    starts, start = set(np.cumsum([0, *lengths[:-1]]).tolist()), sum(lengths)
    for batch in epoch(batcher_of(lengths, config)):
        assert batch.inputs.shape == batch.targets.shape
        for row, (inputs, targets) in enumerate(
            zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)
        ):
            for before, target in zip(inputs, targets, strict=True):
                assert target == NO_TARGET or before == (
                    start if target in starts else target - 1
                ), row
        if not batch.starts_stream:
            assert not starts & set(batch.targets.flatten().tolist()), (
                "records only begin where the state is zero"
            )


@given(lengths=LENGTHS, config=configs(), skipped=st.integers(0, 30))
def test_a_position_leads_to_the_same_batches_again(
    lengths: list[int], config: TrainConfig, skipped: int
) -> None:
    first, second = batcher_of(lengths, config), batcher_of(lengths, config)
    for _ in range(skipped):
        last = first.next_batch()
    position = json.loads(json.dumps(first.position()))
    if skipped:
        assert first.batch_size == len(last.inputs), "the carried state's rows"
    expected = [first.next_batch() for _ in range(8)]
    second.restore(position)
    assert second.position() == position
    assert same([second.next_batch() for _ in range(8)], expected)


@pytest.mark.parametrize(
    "position", [{"epoch": 0, "index": -1}, {"epoch": 0, "index": 10_000}], ids=str
)
def test_a_place_that_does_not_exist_is_refused(position: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="has 1 batches, not one of"):
        batcher_of([3, 4, 5], TrainConfig()).restore(position)


@given(lengths=LENGTHS, config=configs())
def test_memory_is_bounded_by_the_settings(lengths: list[int], config: TrainConfig) -> None:
    room = config.batch_size * config.seq_len
    steps = sum(lengths) if config.bptt == "full" else config.seq_len * 3 // 2 + 1
    for batch in epoch(batcher_of(lengths, config)):
        assert batch.targets.shape[1] <= steps
        assert config.bptt != "fixed" or batch.targets.numel() <= 1.5 * room + config.seq_len


def test_records_of_one_length_stand_together_so_that_little_is_padding() -> None:
    lengths = np.random.default_rng(1).integers(3, 13, 4000).tolist()
    batches = epoch(batcher_of(lengths, TrainConfig(batch_size=32, seq_len=64)))
    room = sum(batch.targets.numel() for batch in batches)
    assert sum(lengths) / room > 0.95
    assert max(batch.tokens for batch in batches) < 1.5 * 32 * 64
    assert min(batch.tokens for batch in batches) > 0.5 * 32 * 64, (
        "no step by what a handful of records say"
    )


def test_long_documents_leave_little_padding_however_uneven_they_are() -> None:
    lengths = [200_000, 50_000, *np.random.default_rng(1).integers(500, 9000, 60).tolist()]
    batches = epoch(batcher_of(lengths, TrainConfig(batch_size=16, seq_len=64)))
    assert sum(lengths) / sum(batch.targets.numel() for batch in batches) > 0.8


def test_each_epoch_groups_the_records_anew() -> None:
    batcher = batcher_of([5] * 200, TrainConfig(batch_size=4, seq_len=10))
    firsts = [batch.inputs[:, 1].tolist() for _ in range(2) for batch in epoch(batcher)]
    assert len({tuple(sorted(first)) for first in firsts}) == len(firsts)


class Recorder:
    """An optimizer that leaves the weights alone and keeps the gradients to be looked at."""

    def step(self, lr: float) -> None: ...

    def zero_grad(self) -> None: ...


def model_of(cell: str, size: int = 12) -> CharRNN:
    return build(
        ModelConfig(cell=cell, vocab_size=size, hidden_size=6, embedding_size=4), seed=1
    ).double()


def step(
    model: CharRNN, batch: Batch, state: tuple[Tensor, ...] | None, config: TrainConfig
) -> StepResult:
    recorder: Any = Recorder()
    gradients = GradientComputer(model, GradScaler("cpu", enabled=False))
    return train_step(gradients, recorder, batch, state, config, lr=0.1)


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20)
@given(
    words=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=17), min_size=2, max_size=12),
    seq_len=st.integers(1, 20),
)
def test_a_batch_of_records_teaches_what_each_alone_teaches(
    cell: str, words: list[list[int]], seq_len: int
) -> None:
    """Loss, gradient and state, window by window, against one record at a time, without padding."""
    model = model_of(cell)
    config = TrainConfig(
        records="lines", batch_size=3, seq_len=seq_len, clip_norm=0, optimizer="adamw"
    )
    ids, starts = np.concatenate(words), np.cumsum([0, *map(len, words[:-1])])
    batcher = RecordBatcher(ids, starts, config, model.start)
    state: tuple[Tensor, ...] | None = None
    alone: list[tuple[Tensor, ...] | None] = []
    for _ in range(int(batcher.steps_per_epoch())):
        batch = batcher.next_batch()
        if batch.starts_stream:
            state, alone = None, [None] * len(batch.inputs)
        model.zero_grad()
        ours = step(model, batch, state, config)
        state = ours.carried
        gradients = [parameter.grad.clone() for parameter in model.parameters()]

        model.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for row, (inputs, targets) in enumerate(zip(batch.inputs, batch.targets, strict=True)):
            there = int((targets != NO_TARGET).sum())
            if there:
                logits, after = model(inputs[None, :there], alone[row])
                total = total + functional.cross_entropy(
                    logits[0].float(), targets[:there], reduction="sum"
                )
                alone[row] = detach(after)
        loss = total / batch.tokens
        loss.backward()
        assert ours.loss == pytest.approx(loss.item(), rel=1e-5)
        for one, parameter in zip(gradients, model.parameters(), strict=True):
            torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


def test_no_gradient_and_no_symbol_comes_from_another_record() -> None:
    """Each symbol is another row of the embedding: its gradient tells what a loss looks at."""
    lengths = [3, 9, 4, 12]
    config = TrainConfig(records="lines", batch_size=4, seq_len=20, clip_norm=0, optimizer="adamw")
    model, places = model_of("lstm", sum(lengths)), np.split(np.arange(28), np.cumsum(lengths)[:-1])
    for batch in epoch(batcher_of(lengths, config)):
        for row, targets in enumerate(batch.targets.tolist()):
            only = torch.full_like(batch.targets, NO_TARGET)
            only[row] = batch.targets[row]
            model.zero_grad()
            step(model, Batch(batch.inputs, only, True, batch.carry_at), None, config)
            reached = model.embedding.weight.grad.abs().amax(dim=1).nonzero().flatten().tolist()
            record = next(place.tolist() for place in places if targets[0] in place)
            assert sorted(reached) == [*record[:-1], model.start]


def test_the_state_is_carried_along_a_record_that_is_longer_than_a_gradient_reaches() -> None:
    config = TrainConfig(records="lines", batch_size=2, seq_len=4, optimizer="adamw")
    batcher = batcher_of([10] * 16, config)
    first, second, third, fourth = (batcher.next_batch() for _ in range(4))
    assert [batch.starts_stream for batch in (first, second, third, fourth)] == [
        True,
        False,
        False,
        True,
    ]
    assert torch.equal(second.inputs[:, 0], first.targets[:, -1])
    assert torch.equal(third.inputs[:, 0], second.targets[:, -1])


def test_random_windows_and_records_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="`batcher` random cannot be used with `records`"):
        TrainConfig(records="lines", batcher="random")
