import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from fakes import FAKE, FakeTokenizer, TableModel, random_table, request, small_numpy_model

from charrnn.config.sampling import SamplingConfig
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.sampling import beam_search
from charrnn.sampling.generate import Generator, Sample

KNOWN = range(1, FakeTokenizer.size)


def search(model: Any, prompt: str, config: SamplingConfig, **options: Any) -> list[Sample]:
    return beam_search.search(Generator(model, FAKE), prompt, config, **options)


def log_prob(model: TableModel, last: int, symbol: int) -> float:
    row = model.table[last].astype(float)
    return float(row[symbol] - math.log(np.exp(row).sum()))


def total(model: TableModel, last: int, ids: tuple[int, ...]) -> float:
    return math.fsum(
        log_prob(model, before, symbol) for before, symbol in zip((last, *ids), ids, strict=False)
    )


def exhaustive(
    model: TableModel, last: int, length: int, stop: str | None
) -> list[tuple[float, tuple[int, ...]]]:
    """All texts there are, cut behind the stop string, by log probability per symbol.

    Those that have it come first.
    """
    texts = set()
    for ids in product(KNOWN, repeat=length):
        end = FAKE.decode(ids).find(stop) if stop else -1
        texts.add(ids if end < 0 else ids[: end + len(stop or "")])
    return sorted(
        ((total(model, last, ids) / len(ids), ids) for ids in texts),
        key=lambda one: (stop is not None and stop not in FAKE.decode(one[1]), -one[0]),
    )


@pytest.mark.parametrize("stop", [None, "b", "ca"])
@pytest.mark.parametrize("seed", range(3))
def test_with_a_place_for_every_text_it_is_exhaustive(stop: str | None, seed: int) -> None:
    model: Any = random_table(seed)
    config = SamplingConfig(length=4, stop=stop)  # type: ignore[arg-type]
    # 6 ** 4 texts, of which 1,024 hardly lose the best
    best = search(model, "ab", config, beam=1024, num=10)
    expected = exhaustive(model, 2, 4, stop)[:10]
    assert [sample.ids for sample in best] == [ids for _, ids in expected]
    for sample, (value, ids) in zip(best, expected, strict=True):
        assert sum(sample.log_probs) / len(sample.log_probs) == pytest.approx(value)
        assert sample.log_probs == pytest.approx(
            [log_prob(model, a, b) for a, b in zip((2, *ids), ids, strict=False)]
        )
        assert sample.text == FAKE.decode(ids).partition(stop or "\0")[0]


def followed(model: TableModel, beam: int, length: int, stop: str) -> list[tuple[int, ...]]:
    """The definition with lists.

    An ended text keeps one of the places, the others go to the likeliest extensions.
    """
    growing: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    for step in range(length):
        longer = sorted(
            ((*ids, symbol) for ids in growing for symbol in KNOWN),
            key=lambda ids: -total(model, 7, ids),
        )
        kept = longer[: beam - len(ended)]
        ended += [ids for ids in kept if stop in FAKE.decode(ids) or step == length - 1]
        growing = [ids for ids in kept if ids not in ended]
    return sorted(
        ended, key=lambda ids: (stop not in FAKE.decode(ids), -total(model, 7, ids) / len(ids))
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_search_follows_what_the_definition_does(seed: int) -> None:
    model: Any = random_table(seed)
    found = search(model, "", SamplingConfig(length=9, stop=("b",)), beam=5, num=5)
    assert [sample.ids for sample in found] == followed(model, 5, 9, "b")
    assert len(found) == 5


@pytest.mark.parametrize("model", [random_table, small_numpy_model], ids=["table", "numpy"])
def test_one_beam_is_greedy(model: Any) -> None:
    greedily = SamplingConfig(length=30, temperature=0)
    (greedy,) = request(model(), "ab", greedily).all_samples()
    (beam,) = search(model(), "ab", SamplingConfig(length=30), beam=1)
    assert (beam.text, beam.ids) == (greedy.text, greedy.ids)
    assert beam.log_probs == pytest.approx(greedy.log_probs)


def test_it_finds_what_greed_misses() -> None:
    table = np.full((8, 7), -9.0)
    table[7, [1, 2]] = 1.1, 1.0  # a is a little likelier than b,
    table[1, 1:] = 0  # but anything may follow it, and after b there is only c
    table[2, 3] = 9
    model: Any = TableModel(table)
    assert search(model, "", SamplingConfig(length=2), beam=1)[0].text[0] == "a"
    assert search(model, "", SamplingConfig(length=2), beam=2)[0].text == "bc"


def test_a_wide_beam_is_never_worse_here_and_the_best_come_first() -> None:
    model: Any = small_numpy_model()
    config = SamplingConfig(length=12)
    means = [
        round(sum(search(model, "a", config, beam=beam)[0].log_probs), 4) for beam in (1, 4, 64)
    ]
    assert means == sorted(means)
    several = search(model, "a", config, beam=8, num=8)
    assert len({one.ids for one in several}) == 8
    assert [sum(one.log_probs) for one in several] == sorted(
        (sum(one.log_probs) for one in several), reverse=True
    )
    assert search(model, "a", config, beam=8, num=3) == several[:3]


def test_the_unknown_symbol_is_never_found() -> None:
    table = np.zeros((8, 7))
    table[:, 0] = 5
    model: Any = TableModel(table)
    assert "\ufffd" not in "".join(
        one.text for one in search(model, "", SamplingConfig(length=3), beam=9, num=9)
    )


def test_it_ends_with_the_stop_string_or_the_lines_or_the_length() -> None:
    model: Any = random_table(1)
    for sample in search(model, "", SamplingConfig(length=20, stop=("b", "dd")), beam=9, num=9):
        whole = FAKE.decode(sample.ids)
        assert len(whole) <= 20
        assert min(
            index
            for stop in ("b", "dd", whole[20:] or "\0")
            if (index := (whole + "\0").find(stop)) >= 0
        ) == len(sample.text)


def test_it_does_not_repeat() -> None:
    model: Any = random_table(2)
    (plain,) = search(model, "", SamplingConfig(length=40), beam=4)
    (other,) = search(model, "", SamplingConfig(length=40, no_repeat=3), beam=4)
    for sample, repeats in ((plain, True), (other, False)):
        sequences = [sample.ids[start : start + 3] for start in range(38)]
        assert (len(set(sequences)) < len(sequences)) == repeats


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam": 0}, UsageError, "`beam` must be at least 1 and at most 1024, not 0"),
        ({"beam": 2000}, UsageError, "`beam` must be at least 1 and at most 1024, not 2000"),
        ({"beam": 2, "num": 3}, UsageError, "`num` must be at most `beam`, which is 2, not 3"),
        ({"beam": 2, "num": 0}, UsageError, "`num` must be at least 1"),
        ({"beam": 2, "prompt": "x"}, TextError, "has never seen: 'x'"),
    ],
)
def test_what_cannot_be_searched(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    prompt = options.pop("prompt", "")
    with pytest.raises(error, match=message):
        search(random_table(), prompt, SamplingConfig(length=3), **options)


def test_a_model_that_predicts_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        search(TableModel(np.full((8, 7), np.nan)), "", SamplingConfig(length=3), beam=2)


def test_a_text_that_ends_as_asked_for_wins_over_one_that_only_goes_on() -> None:
    table = np.full((8, 7), -9.0)
    table[7, [1, 2]] = 1.0, 0.9  # a is a little likelier than b,
    table[1, 1] = 9  # but nearly always followed by itself, and never ends
    table[2, 3] = 2
    model: Any = TableModel(table)
    for config in (SamplingConfig(length=8, stop=("c",)), SamplingConfig(length=8)):
        best = search(model, "", config, beam=2, num=1)[0]
        assert best.text == ("b" if config.stop else "a" * 8)
