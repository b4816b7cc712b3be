"""Batches of pairs: each pair once an epoch, little padding, an order of the seed, exact resume."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.training import TrainConfig
from charrnn.data.batching import make_batcher
from charrnn.data.batching.base import NO_TARGET, Batch, Batcher
from charrnn.data.batching.pairs import PairBatcher
from charrnn.data.sources import Sources

START = 100_000


def starts_of(lengths: Any) -> Any:
    return np.cumsum([0, *lengths], dtype=np.int64)[:-1]


def batcher_of(
    targets: list[int], sources: list[int], shape: tuple[int, ...] = (), **settings: Any
) -> Batcher:
    """Pairs of these lengths; every symbol is different, so that it tells where it is from."""
    ids = np.arange(sum(targets))
    numbers = np.arange(sum(sources) * int(np.prod(shape, dtype=int)))
    starts = starts_of([length * int(np.prod(shape, dtype=int)) for length in sources])
    config = TrainConfig(records="lines", **settings)
    return make_batcher(ids, config, START, starts_of(targets), Sources(numbers, starts, shape))


def epoch(batcher: Batcher) -> list[Batch]:
    return [batcher.next_batch() for _ in range(int(batcher.steps_per_epoch()))]


lengths = st.lists(st.integers(2, 9), min_size=1, max_size=60)


@given(lengths, st.integers(1, 8), st.integers(0, 3))
def test_every_pair_comes_once_an_epoch_with_its_own_source(
    targets: list[int], batch_size: int, seed: int
) -> None:
    sources = [length % 4 + 1 for length in targets]
    batcher = batcher_of(targets, sources, batch_size=batch_size, seed=seed)
    places, source_places = starts_of(targets).tolist(), starts_of(sources).tolist()
    seen = []
    for batch in epoch(batcher):
        assert batch.source is not None
        assert batch.starts_stream
        assert abs(len(batch.inputs) - batch_size) <= batch_size
        for row in range(len(batch.inputs)):
            target = batch.targets[row][batch.targets[row] != NO_TARGET]
            pair = places.index(int(target[0]))
            seen.append(pair)
            begin = places[pair]
            assert target.tolist() == list(range(begin, begin + targets[pair]))
            assert batch.inputs[row, 0] == START
            assert batch.inputs[row, 1 : targets[pair]].tolist() == target[:-1].tolist()
            length = int(batch.source.lengths[row])
            own = batch.source.values[row]
            assert own[:length].tolist() == [source_places[pair] + n for n in range(sources[pair])]
            assert not own[length:].any()
    assert sorted(seen) == list(range(len(targets)))


def test_pairs_of_like_length_are_together() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(1, 60, 5000).tolist()
    sources = [max(1, length + int(rng.integers(-3, 4))) for length in targets]
    batches = epoch(batcher_of(targets, sources, batch_size=32))
    slots = sum(batch.targets.numel() for batch in batches)
    assert sum(targets) / slots > 0.9
    assert {len(batch.inputs) for batch in batches} <= {31, 32, 33}


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    def order(seed: int, epochs: int) -> list[Any]:
        batcher = batcher_of([5] * 40, [3] * 40, batch_size=4, seed=seed)
        return [[batch.targets.tolist() for batch in epoch(batcher)] for _ in range(epochs)]

    first, second = order(1, 2)
    assert order(1, 2) == [first, second]
    assert first != second
    assert order(2, 1) != [first]


@given(lengths, st.integers(0, 40))
def test_a_restored_batcher_goes_on_with_the_same_batches(targets: list[int], taken: int) -> None:
    whole = batcher_of(targets, targets, batch_size=3)
    for _ in range(taken):
        whole.next_batch()
    again = batcher_of(targets, targets, batch_size=3)
    again.restore(whole.position())
    assert again.batch_size == whole.batch_size
    for _ in range(5):
        one, other = whole.next_batch(), again.next_batch()
        assert torch.equal(one.targets, other.targets)
        assert one.source is not None
        assert other.source is not None
        assert torch.equal(one.source.values, other.source.values)


def test_a_position_that_there_is_not_is_refused() -> None:
    batcher = batcher_of([2] * 6, [2] * 6, batch_size=2)
    with pytest.raises(ValueError, match="3 batches, not one of 3"):
        batcher.restore({"epoch": 0, "index": 3})


def test_the_shapes_are_those_of_the_batches() -> None:
    targets, sources = [1, 5, 9, 2, 2, 7], [4, 4, 1, 1, 8, 3]
    batcher = batcher_of(targets, sources, batch_size=2)
    wanted = {
        (*batch.inputs.shape, batch.source.values.shape[1])
        for batch in epoch(batcher_of(targets, sources, batch_size=2))
        if batch.source is not None
    }
    assert batcher.shapes() == wanted
    assert isinstance(batcher, PairBatcher)


def test_shards_take_their_sources_along_and_an_empty_one_has_no_target() -> None:
    batch = batcher_of([2, 3], [4, 1], batch_size=2).next_batch()
    parts = [batch.shard(rank, 3) for rank in range(3)]
    for part in parts:
        assert part.source is not None
        assert len(part.source.values) == len(part.inputs) == 1
    assert sum(part.tokens for part in parts) == batch.tokens == 5


def test_pictures_and_features_keep_their_shape() -> None:
    batch = batcher_of([1, 1], [1, 1], (2, 4, 3), batch_size=2).next_batch()
    assert batch.source is not None
    assert batch.source.values.shape == (2, 2, 4, 3)
    batch = batcher_of([1, 1], [3, 2], (5,), batch_size=2).next_batch()
    assert batch.source is not None
    assert batch.source.values.shape == (2, 3, 5)
    assert sorted(batch.source.lengths.tolist()) == [2, 3]
