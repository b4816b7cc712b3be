import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.config import ModelConfig
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.numpy_model import NumpyModel
from charrnn.sampling import (
    Cutter,
    SamplingConfig,
    apply_rules,
    apply_temperature,
    ban,
    draw,
    encode_prompt,
    generate,
    generate_text,
    generate_texts,
    keep_top_k,
    keep_top_p,
    softmax,
    visible,
)
from charrnn.shapes import weight_shapes
from charrnn.tokenizers.char import CharDecoder

LETTERS = "abcdef"
# Whole numbers make ties common.
LOGITS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.integers(-3, 3) | st.floats(-30, 30),
)


@dataclass
class FakeTokenizer:
    """`LETTERS` are 1, 2, ...; 0 is unknown."""

    kind = "fake"
    size = len(LETTERS) + 1
    unknown: int | None = 0
    unknown_nats = 0.0

    def encode(self, text: str) -> np.ndarray:
        return np.array([LETTERS.find(character) + 1 for character in text], dtype=np.uint8)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(("\ufffd" + LETTERS)[i] for i in ids)

    def decoder(self) -> CharDecoder:
        return CharDecoder("\ufffd" + LETTERS)

    def spell(self, symbol: int) -> bytes:
        return ("\ufffd" + LETTERS)[symbol].encode()

    def unknown_characters(self, text: str) -> list[str]:
        return [character for character in dict.fromkeys(text) if character not in LETTERS]


FAKE: Any = FakeTokenizer()  # all that sampling asks of a tokenizer, not all that a tokenizer has


class TableModel:
    """Predicts from a table by the last symbol, so exactly alike in every batch; notes what it reads."""

    start = FakeTokenizer.size

    def __init__(self, table: np.ndarray) -> None:
        self.table = table.astype(np.float32)
        self.read: list[list[int]] = []

    def initial_state(self, batch: int) -> tuple[np.ndarray, ...]:
        return (np.zeros(batch, dtype=int),)

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        self.read.append(ids.tolist())
        return self.table[ids], (state[0] + ids,)


class RowModel(TableModel):
    """Spells a given text, one symbol after the other, and begins it again at its end; its state is the position."""

    def __init__(self, text: str) -> None:
        super().__init__(np.eye(FakeTokenizer.size)[FAKE.encode(text)] * 50)

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        self.read.append(ids.tolist())
        return self.table[state[0] % len(self.table)], (state[0] + 1,)


def random_table(seed: int = 0) -> TableModel:
    return TableModel(np.random.default_rng(seed).normal(size=(FakeTokenizer.size + 1, FakeTokenizer.size)))


def small_numpy_model() -> NumpyModel:
    config = ModelConfig(vocab_size=FakeTokenizer.size, hidden_size=8, embedding_size=4)
    rng = np.random.default_rng(5)
    return NumpyModel(config, {name: rng.normal(size=shape) for name, shape in weight_shapes(config).items()})


MODELS = [pytest.param(random_table, id="table"), pytest.param(small_numpy_model, id="numpy")]


def best_first(row: np.ndarray) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def kept(row: np.ndarray) -> set[int]:
    return {int(i) for i in np.flatnonzero(row > -np.inf)}


# Rules, against their definitions


@given(LOGITS, st.floats(1e-3, 100))
def test_temperature_divides(logits: np.ndarray, temperature: float) -> None:
    scaled = apply_temperature(logits, temperature)
    np.testing.assert_allclose(scaled - scaled[:, :1], (logits - logits[:, :1]) / temperature, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-12])
def test_a_tiny_temperature_is_greedy_without_a_warning(temperature: float) -> None:
    logits = np.array([[1.0, 3.0, -2.0, -np.inf]])
    np.testing.assert_allclose(softmax(apply_temperature(logits, temperature)), [[0, 1, 0, 0]])


@given(LOGITS)
def test_temperature_0_keeps_the_largest_of_the_smallest_id(logits: np.ndarray) -> None:
    for row, result in zip(logits, apply_temperature(logits, 0), strict=True):
        assert kept(result) == {row.tolist().index(max(row))}


@given(LOGITS, st.integers(1, 10))
def test_top_k_keeps_exactly_k(logits: np.ndarray, k: int) -> None:
    for row, result in zip(logits, keep_top_k(logits, k), strict=True):
        assert kept(result) == set(best_first(row)[:k])
        assert all(result[i] == row[i] for i in kept(result))


@given(LOGITS, st.floats(0.001, 1))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: np.ndarray, p: float) -> None:
    for row, result in zip(logits, keep_top_p(logits, p), strict=True):
        weights = [math.exp(value - max(row)) for value in row]
        probabilities = [weight / math.fsum(weights) for weight in weights]
        chosen = best_first(row)[: len(kept(result))]
        assert kept(result) == set(chosen)
        assert len(chosen) >= 1
        assert math.fsum(probabilities[i] for i in chosen) >= p - 1e-9
        if p < 1 and len(chosen) > 1:
            assert math.fsum(probabilities[i] for i in chosen[:-1]) < p + 1e-9
        assert all(result[i] == row[i] for i in chosen)


def test_top_p_exact_cases() -> None:
    logits = np.log([[0.5, 0.25, 0.125, 0.125]])
    sizes = {p: len(kept(keep_top_p(logits, p)[0])) for p in (1e-9, 0.5, 0.501, 0.75, 0.76, 0.9, 1.0)}
    assert sizes == {1e-9: 1, 0.5: 1, 0.501: 2, 0.75: 2, 0.76: 3, 0.9: 4, 1.0: 4}
    assert kept(keep_top_p(np.array([[0.0, -60.0, -700.0]]), 1.0)[0]) == {0, 1, 2}


def test_rules_compose_in_the_documented_order() -> None:
    logits = np.log([[0.4, 0.3, 0.2, 0.1]])

    # After temperature 1/2: 16, 9, 4, 1 of 30. top_k 3 leaves 16, 9, 4 of 29; 16 + 9 are 0.862 of those, 0.833 of all.
    def left(**options: Any) -> set[int]:
        return kept(apply_rules(logits, SamplingConfig(**options))[0])

    assert left(temperature=0.5, top_k=3, top_p=0.85) == {0, 1}
    assert left(temperature=0.5, top_p=0.85) == {0, 1, 2}
    assert left(temperature=1.0, top_k=3, top_p=0.85) == {0, 1, 2}


@given(LOGITS, st.integers(1, 5), st.floats(0.01, 1), st.floats(0, 3))
def test_a_rule_treats_each_row_alone_and_changes_no_input(
    logits: np.ndarray, k: int, p: float, temperature: float
) -> None:
    config = SamplingConfig(temperature=temperature, top_k=k, top_p=p)
    before = logits.copy()
    together = apply_rules(logits, config)
    assert (ban(logits, [0])[:, 0] == -np.inf).all()
    np.testing.assert_array_equal(logits, before)
    for row, result in zip(logits, together, strict=True):
        np.testing.assert_array_equal(apply_rules(row, config), result)


# Drawing


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"temperature": 1.0}, [0.4, 0.3, 0.2, 0.1], id="plain"),
        pytest.param({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30], id="temperature"),
        pytest.param({"temperature": 1.0, "top_k": 2}, [4 / 7, 3 / 7, 0, 0], id="top_k"),
        pytest.param({"temperature": 1.0, "top_p": 0.8}, [4 / 9, 3 / 9, 2 / 9, 0], id="top_p"),
    ],
)
def test_frequencies_are_the_probabilities(options: dict[str, Any], expected: list[float]) -> None:
    streams, rounds = 50, 200
    logits = np.tile(np.log([0.4, 0.3, 0.2, 0.1]), (streams, 1)).astype(np.float32)
    rngs = [np.random.default_rng((7, stream)) for stream in range(streams)]
    config = SamplingConfig(**options)
    counts = np.bincount(np.concatenate([draw(logits, config, rngs) for _ in range(rounds)]), minlength=4)
    wanted = np.array(expected) * streams * rounds
    assert (counts[wanted == 0] == 0).all()
    possible = wanted > 0
    chi_square = (((counts - wanted) ** 2)[possible] / wanted[possible]).sum()
    # Right frequencies exceed this in 1 of 1000 seeds: the 99.9 % points for 1, 2 and 3 degrees of freedom.
    assert chi_square < {1: 10.83, 2: 13.82, 3: 16.27}[possible.sum() - 1]


class Fixed(np.random.Generator):
    """A generator that gives one number; a subclass only so that it has the type."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self) -> float:  # type: ignore[override]
        return self.value


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_draw_inverts_the_cumulative_distribution(logits: np.ndarray, uniform: float) -> None:
    ids = draw(logits, SamplingConfig(temperature=1.0), [Fixed(uniform)] * len(logits))
    assert ids.shape == logits.shape[:1]
    for row, i in zip(softmax(logits), ids, strict=True):
        assert math.fsum(row[:i]) <= uniform + 1e-9
        assert math.fsum(row[: i + 1]) >= uniform - 1e-9


@pytest.mark.parametrize("uniform", [0.0, 0.5, math.nextafter(1, 0)])
def test_draw_never_takes_what_was_removed(uniform: float) -> None:
    logits = np.array([[-np.inf, 0.3, -np.inf, 0.1, -np.inf], [-np.inf, -np.inf, 2.0, -np.inf, -np.inf]])
    ids = draw(logits, SamplingConfig(temperature=1.0, top_k=4, top_p=0.999), [Fixed(uniform)] * 2)
    assert np.isfinite(logits[[0, 1], ids]).all()


def test_draw_stays_inside_the_vocabulary_where_rounding_lets_the_probabilities_sum_to_less_than_1() -> None:
    assert np.full(10, 0.1).cumsum()[-1] < 1
    assert draw(np.zeros((1, 10)), SamplingConfig(), [Fixed(math.nextafter(1, 0))]).tolist() == [9]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draw_refuses_logits_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        draw(np.array([[0.0, 1.0], [0.0, bad]]), SamplingConfig(), [Fixed(0.5)] * 2)


# Generating


def test_generate_reads_start_then_prompt_then_what_it_drew() -> None:
    model = random_table()
    drawn = [ids.tolist() for ids in generate(model, [3, 5], SamplingConfig(length=4), seed=1, num=2)]
    assert len(drawn) == 4
    assert model.read == [[model.start], [3], [5, 5], *drawn[:-1]]


def test_generate_carries_the_state_of_the_prompt_into_each_stream() -> None:
    greedy = SamplingConfig(length=5, temperature=0)
    assert [ids.tolist() for ids in generate(RowModel("abcdef"), [9, 9], greedy, seed=1, num=2)] == [
        [i, i] for i in (3, 4, 5, 6, 1)
    ]


def test_greedy_follows_the_largest_logit_whatever_the_seed() -> None:
    model = random_table()
    expected, last = [], model.start
    for _ in range(20):
        last = int(model.table[last].argmax())
        expected.append(last)
    for seed in (1, 2):
        ids = generate(model, [], SamplingConfig(length=20, temperature=0), seed=seed, num=1)
        assert [int(i[0]) for i in ids] == expected


def test_generate_does_no_work_ahead() -> None:
    model = random_table()
    assert len(list(islice(generate(model, [], SamplingConfig(length=1 << 40), seed=1, num=1), 3))) == 3
    assert len(model.read) == 3


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_ids_and_a_stream_does_not_depend_on_how_many_there_are(model: Any) -> None:
    def ids(seed: int, num: int) -> np.ndarray:
        return np.array(list(generate(model(), [1, 2], SamplingConfig(length=100), seed=seed, num=num)))

    five = ids(1, 5)
    np.testing.assert_array_equal(ids(1, 5), five)
    np.testing.assert_array_equal(ids(1, 1), five[:, :1])
    np.testing.assert_array_equal(ids(1, 3), five[:, :3])
    assert len({tuple(stream) for stream in five.T}) == 5
    assert (ids(2, 1)[:, 0] != five[:, 1]).any()


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_banned_ids_are_never_drawn(temperature: float) -> None:
    model = TableModel(np.tile([9.0, 0, 0, 8.0, 0, 0, 0], (FakeTokenizer.size + 1, 1)))
    config = SamplingConfig(length=50, temperature=temperature)
    drawn = np.array(list(generate(model, [], config, seed=1, num=4, banned=[0, 3])))
    assert not np.isin(drawn, [0, 3]).any()
    assert (np.array(list(generate(model, [], config, seed=1, num=4))) == 0).any()


def test_the_global_generator_is_left_alone() -> None:
    before: Any = np.random.get_state()
    generate_texts(random_table(), FAKE, "ab", SamplingConfig(length=20), seed=1, num=3)
    after: Any = np.random.get_state()
    np.testing.assert_array_equal(after[1], before[1])
    assert after[2:] == before[2:]


# Text


@pytest.mark.parametrize("model", MODELS)
def test_the_streamed_text_is_the_first_of_several_and_never_unknown(model: Any) -> None:
    config = SamplingConfig(length=200, temperature=1.5)
    alone = "".join(generate_text(model(), FAKE, "ab", config, seed=3))
    assert alone == generate_texts(model(), FAKE, "ab", config, seed=3, num=4)[0]
    assert len(alone) == 200
    assert "\ufffd" not in alone


def test_a_tokenizer_to_which_nothing_is_unknown_bans_nothing() -> None:
    no_unknown: Any = FakeTokenizer(unknown=None)
    model = TableModel(np.tile(np.eye(FakeTokenizer.size)[0] * 50, (FakeTokenizer.size + 1, 1)))
    assert list(generate_text(model, no_unknown, "", SamplingConfig(length=2), seed=1)) == ["\ufffd"] * 2


@pytest.mark.parametrize(
    ("stop", "pieces"),
    [
        pytest.param(None, list("abcabdabca"), id="none"),
        pytest.param("d", list("abcab"), id="one symbol"),
        pytest.param("abd", ["abc"], id="across symbols"),
        pytest.param("abdabcabe", ["abc", "abdabca"], id="begun at the end"),
        pytest.param("a", [], id="at once"),
        pytest.param("x", list("abcabdabca"), id="never"),
    ],
)
def test_a_stop_string_is_cut_off_and_holds_back_no_more_than_its_beginning(
    stop: str | None, pieces: list[str]
) -> None:
    config = SamplingConfig(length=10, temperature=0, stop=stop)
    written = list(generate_text(RowModel("abcabdabca"), FAKE, "", config, seed=1))
    assert written == pieces
    assert generate_texts(RowModel("abcabdabca"), FAKE, "", config, seed=1, num=2) == ["".join(pieces)] * 2


@given(st.lists(st.text("ab", max_size=4)), st.text("ab", min_size=1, max_size=5))
def test_a_cutter_gives_what_stands_before_the_stop_string_and_all_that_is_certain(
    pieces: list[str], stop: str
) -> None:
    cutter, given_out, fed = Cutter(stop), "", ""
    for piece in pieces:
        given_out += cutter.feed(piece)
        fed += piece
        if stop in fed:
            assert (given_out, cutter.held, cutter.found) == (fed[: fed.index(stop)], "", True)
        else:
            assert given_out + cutter.held == fed
            assert len(cutter.held) == max(n for n in range(len(stop)) if fed.endswith(stop[:n]))


def test_texts_end_when_all_have_met_the_stop_string() -> None:
    model = random_table()
    config = SamplingConfig(length=10_000, temperature=1.0, stop="c")
    texts = generate_texts(model, FAKE, "", config, seed=1, num=3)
    assert len(model.read) == max(len(text) for text in texts) + 1
    assert len({len(text) for text in texts}) > 1
    full = generate_texts(random_table(), FAKE, "", SamplingConfig(length=50, temperature=1.0), seed=1, num=3)
    assert texts == [text.partition("c")[0] for text in full]


# Prompts, settings, terminals


def test_a_prompt_of_known_characters_is_encoded() -> None:
    assert encode_prompt(FAKE, "abc", "error").tolist() == [1, 2, 3]
    assert encode_prompt(FAKE, "", "error").tolist() == []


def test_unknown_characters_are_skipped_or_replaced() -> None:
    assert encode_prompt(FAKE, "aXbXÜ", "skip").tolist() == [1, 2]
    assert encode_prompt(FAKE, "aXbXÜ", "replace").tolist() == [1, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param("aé", "has 1 character that the model has never seen: 'é' (U+00E9).", id="one"),
        pytest.param(
            "é—é\x1b",
            "has 3 characters that the model has never seen: "
            r"'é' (U+00E9), '—' (U+2014), '\x1b' (U+001B).",
            id="three",
        ),
        pytest.param(
            "STUVWXY",
            "has 7 characters that the model has never seen: 'S' (U+0053), 'T' (U+0054), "
            "'U' (U+0055), 'V' (U+0056), 'W' (U+0057) and 2 more.",
            id="many",
        ),
    ],
)
def test_unknown_characters_are_an_error_at_the_call(prompt: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        generate_text(random_table(), FAKE, prompt, SamplingConfig(), seed=1)
    assert caught.value.message == "The prompt " + message
    assert "--unknown skip" in caught.value.hint
    assert "--unknown replace" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "--length must be at least 1 .*, not 0"),
        ({"length": 1.5}, "--length must be a whole number, not 1.5"),
        ({"temperature": -0.1}, "--temperature must be at least 0 and at most 100, not -0.1"),
        ({"temperature": math.nan}, "--temperature .* not nan"),
        ({"top_k": 0}, "--top-k must be at least 1, not 0"),
        (
            {"top_p": 0.0},
            "--top-p must be greater than 0 and at most 1, not 0.0",
        ),
        ({"top_p": 1.1}, "--top-p must be greater than 0 and at most 1, not 1.1"),
        ({"stop": ""}, "--stop must not be empty"),
        ({"unknown": "skp"}, "--unknown must be one of error, skip, replace, not 'skp'.\nDid you mean 'skip'?"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SamplingConfig(**options)


def test_settings_read_back() -> None:
    config = SamplingConfig(length=7, temperature=0, top_k=3, top_p=0.5, stop="\n", unknown="skip")
    assert SamplingConfig.from_dict(config.to_dict()) == config


def test_control_characters_are_made_visible() -> None:
    assert visible("\x1b[31mred\x00\r\x7f\x9b") == r"\x1b[31mred\x00\x0d\x7f\x9b"
    assert visible("a\tb\nÜ—😉\xa0") == "a\tb\nÜ—😉\xa0"
