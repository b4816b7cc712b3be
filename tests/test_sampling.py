import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from fakes import (
    FAKE,
    FakeTokenizer,
    RowModel,
    TableModel,
    generate_ids,
    random_table,
    request,
    small_numpy_model,
    written,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.config.sampling import SamplingConfig
from charrnn.errors import ModelFileError, TextError, UsageError
from charrnn.sampling import generate
from charrnn.sampling.beam_search import search
from charrnn.sampling.decoding import DecodedStep
from charrnn.sampling.generate import GenerationRequest, Generator, Sample, encode_prompt
from charrnn.sampling.logits import (
    apply_min_p,
    apply_rules,
    apply_temperature,
    ban,
    draw,
    keep_top_k,
    keep_top_p,
    softmax,
)
from charrnn.terminal.escape import visible

# Whole numbers make ties common.
LOGITS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.integers(-3, 3) | st.floats(-30, 30),
)


MODELS = [pytest.param(random_table, id="table"), pytest.param(small_numpy_model, id="numpy")]


def best_first(row: np.ndarray) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def together(*arguments: Any, **options: Any) -> list[str]:
    """Return the texts of a request, each as one string."""
    return ["".join(pieces) for pieces in request(*arguments, **options).texts()]


def ids_of(steps: Iterator[DecodedStep]) -> np.ndarray:
    """Return all that was drawn, (length, num)."""
    return np.array([step.ids for step in steps])


def kept(row: np.ndarray) -> set[int]:
    return {int(i) for i in np.flatnonzero(row > -np.inf)}


# Rules, against their definitions


@given(LOGITS, st.floats(1e-3, 100))
def test_temperature_divides(logits: np.ndarray, temperature: float) -> None:
    scaled = apply_temperature(logits, temperature)
    np.testing.assert_allclose(
        scaled - scaled[:, :1], (logits - logits[:, :1]) / temperature, rtol=1e-9, atol=1e-6
    )


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
    sizes = {
        p: len(kept(keep_top_p(logits, p)[0])) for p in (1e-9, 0.5, 0.501, 0.75, 0.76, 0.9, 1.0)
    }
    assert sizes == {1e-9: 1, 0.5: 1, 0.501: 2, 0.75: 2, 0.76: 3, 0.9: 4, 1.0: 4}
    assert kept(keep_top_p(np.array([[0.0, -60.0, -700.0]]), 1.0)[0]) == {0, 1, 2}


@given(LOGITS, st.floats(1e-6, 1))
def test_min_p_keeps_what_is_at_least_that_share_as_likely_as_the_likeliest(
    logits: np.ndarray, p: float
) -> None:
    for row, result in zip(logits, apply_min_p(logits, p), strict=True):
        weights = [math.exp(value - max(row)) for value in row]
        surely = {i for i, weight in enumerate(weights) if weight > p * max(weights) * (1 + 1e-9)}
        perhaps = {i for i, weight in enumerate(weights) if weight >= p * max(weights) * (1 - 1e-9)}
        assert surely | {best_first(row)[0]} <= kept(result) <= perhaps
        assert all(result[i] == row[i] for i in kept(result))


def test_min_p_of_1_keeps_the_likeliest_and_its_equals() -> None:
    assert kept(apply_min_p(np.array([[3.0, 1.0, 3.0, -np.inf]]), 1.0)[0]) == {0, 2}


def test_rules_compose_in_the_documented_order() -> None:
    logits = np.log([[0.4, 0.3, 0.2, 0.1]])

    # After temperature 1/2: 16, 9, 4, 1 of 30. top_k 3 leaves 16, 9, 4 of 29; 16 + 9 are 0.862 of
    # those, 0.833 of all.
    def left(**options: Any) -> set[int]:
        return kept(apply_rules(logits, SamplingConfig(**options))[0])

    assert left(temperature=0.5, top_k=3, top_p=0.85) == {0, 1}
    assert left(temperature=0.5, top_p=0.85) == {0, 1, 2}
    assert left(temperature=1.0, top_k=3, top_p=0.85) == {0, 1, 2}
    assert left(temperature=0.5, min_p=0.3) == {0, 1}  # 4 / 16 is less, 0.2 / 0.4 would not be
    assert left(min_p=0.3, top_p=0.3, temperature=1.0) == left(top_p=0.3, temperature=1.0) == {0}


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
        pytest.param({"temperature": 1.0, "min_p": 0.6}, [4 / 7, 3 / 7, 0, 0], id="min_p"),
        pytest.param(
            {"temperature": 0.5, "top_p": 0.9, "min_p": 0.1}, [16 / 29, 9 / 29, 4 / 29, 0], id="all"
        ),
    ],
)
def test_frequencies_are_the_probabilities(options: dict[str, Any], expected: list[float]) -> None:
    streams, rounds = 50, 200
    logits = np.tile(np.log([0.4, 0.3, 0.2, 0.1]), (streams, 1)).astype(np.float32)
    rng, config = np.random.default_rng(7), SamplingConfig(**options)
    counts = np.bincount(
        np.concatenate([draw(logits, config, rng.random(streams)) for _ in range(rounds)]),
        minlength=4,
    )
    wanted = np.array(expected) * streams * rounds
    assert (counts[wanted == 0] == 0).all()
    possible = wanted > 0
    chi_square = (((counts - wanted) ** 2)[possible] / wanted[possible]).sum()
    # Right frequencies exceed this in 1 of 1000 seeds: the 99.9 % points for 1, 2 and 3 degrees of
    # freedom.
    assert chi_square < {1: 10.83, 2: 13.82, 3: 16.27}[possible.sum() - 1]


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_draw_inverts_the_cumulative_distribution(logits: np.ndarray, uniform: float) -> None:
    ids = draw(logits, SamplingConfig(temperature=1.0), np.full(len(logits), uniform))
    assert ids.shape == logits.shape[:1]
    for row, i in zip(softmax(logits), ids, strict=True):
        assert math.fsum(row[:i]) <= uniform + 1e-9
        assert math.fsum(row[: i + 1]) >= uniform - 1e-9


@pytest.mark.parametrize("uniform", [0.0, 0.5, math.nextafter(1, 0)])
def test_draw_never_takes_what_was_removed(uniform: float) -> None:
    logits = np.array(
        [[-np.inf, 0.3, -np.inf, 0.1, -np.inf], [-np.inf, -np.inf, 2.0, -np.inf, -np.inf]]
    )
    ids = draw(logits, SamplingConfig(temperature=1.0, top_k=4, top_p=0.999), np.full(2, uniform))
    assert np.isfinite(logits[[0, 1], ids]).all()


def test_draw_stays_inside_the_vocabulary_where_probabilities_are_rounded_down() -> None:
    assert np.full(10, 0.1).cumsum()[-1] < 1
    assert draw(np.zeros((1, 10)), SamplingConfig(), np.array([math.nextafter(1, 0)])).tolist() == [
        9
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draw_refuses_logits_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        draw(np.array([[0.0, 1.0], [0.0, bad]]), SamplingConfig(), np.full(2, 0.5))


# Generating


def test_generate_reads_start_then_prompt_then_what_it_drew() -> None:
    model = random_table()
    drawn = ids_of(
        generate_ids(model, [3, 5], SamplingConfig(length=4), seed=1, streams=range(2))
    ).tolist()
    assert len(drawn) == 4
    assert model.read == [[model.start], [3], [5, 5], *drawn[:-1]]


def test_generate_carries_the_state_of_the_prompt_into_each_stream() -> None:
    greedy = SamplingConfig(length=5, temperature=0)
    drawn = ids_of(generate_ids(RowModel("abcdef"), [9, 9], greedy, seed=1, streams=range(2)))
    assert drawn.tolist() == [[i, i] for i in (3, 4, 5, 6, 1)]


def test_greedy_follows_the_largest_logit_whatever_the_seed() -> None:
    model = random_table()
    expected, last = [], model.start
    for _ in range(20):
        last = int(model.table[last].argmax())
        expected.append(last)
    for seed in (1, 2):
        steps = generate_ids(
            model, [], SamplingConfig(length=20, temperature=0), seed=seed, streams=range(1)
        )
        assert ids_of(steps)[:, 0].tolist() == expected


def test_generate_does_no_work_ahead() -> None:
    model = random_table()
    assert (
        len(
            list(
                islice(
                    generate_ids(
                        model, [], SamplingConfig(length=1 << 40), seed=1, streams=range(1)
                    ),
                    3,
                )
            )
        )
        == 3
    )
    assert len(model.read) == 3


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_ids_and_a_stream_does_not_depend_on_how_many_there_are(model: Any) -> None:
    def ids(seed: int, *streams: int) -> np.ndarray:
        return ids_of(
            generate_ids(
                model(), [1, 2], SamplingConfig(length=100), seed=seed, streams=range(*streams)
            )
        )

    five = ids(1, 5)
    np.testing.assert_array_equal(ids(1, 5), five)
    np.testing.assert_array_equal(ids(1, 1), five[:, :1])
    np.testing.assert_array_equal(ids(1, 3), five[:, :3])
    np.testing.assert_array_equal(ids(1, 2, 5), five[:, 2:])
    assert len({tuple(stream) for stream in five.T}) == 5
    assert (ids(2, 1)[:, 0] != five[:, 1]).any()


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_banned_ids_are_never_drawn(temperature: float) -> None:
    model = TableModel(np.tile([9.0, 0, 0, 8.0, 0, 0, 0], (FakeTokenizer.size + 1, 1)))
    config = SamplingConfig(length=50, temperature=temperature)
    drawn = ids_of(generate_ids(model, [], config, seed=1, streams=range(4), banned=[0, 3]))
    assert not np.isin(drawn, [0, 3]).any()
    assert (ids_of(generate_ids(model, [], config, seed=1, streams=range(4))) == 0).any()


def test_the_global_generator_is_left_alone() -> None:
    before: Any = np.random.get_state()
    together(random_table(), "ab", SamplingConfig(length=20), seed=1, num=3)
    after: Any = np.random.get_state()
    np.testing.assert_array_equal(after[1], before[1])
    assert after[2:] == before[2:]


# Text


@pytest.mark.parametrize("model", MODELS)
def test_the_streamed_text_is_the_first_of_several_and_never_unknown(model: Any) -> None:
    config = SamplingConfig(length=200, temperature=1.5)
    alone = written(model(), "ab", config, seed=3)
    assert alone == together(model(), "ab", config, seed=3, num=4)[0]
    assert len(alone) == 200
    assert "\ufffd" not in alone


def test_a_tokenizer_to_which_nothing_is_unknown_bans_nothing() -> None:
    no_unknown: Any = FakeTokenizer(unknown=None)
    model = TableModel(np.tile(np.eye(FakeTokenizer.size)[0] * 50, (FakeTokenizer.size + 1, 1)))
    asked = request(model, "", SamplingConfig(length=2), tokenizer=no_unknown)
    assert list(asked.pieces(0)) == ["\ufffd"] * 2


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
    assert list(request(RowModel("abcabdabca"), "", config).pieces(0)) == pieces
    assert together(RowModel("abcabdabca"), "", config, seed=1, num=2) == ["".join(pieces)] * 2


def test_where_records_were_learned_a_text_ends_with_its_record() -> None:
    generator = Generator(RowModel("abcabd"), FAKE, separator="ca")
    config = SamplingConfig(length=9, temperature=0, stop="f")
    for sample in GenerationRequest(generator, "", config, seed=1, num=2).all_samples():
        assert (sample.text, FAKE.decode(sample.ids)) == ("ab", "abca")
    (best,) = search(generator, "", SamplingConfig(length=9), beam=1)
    assert best.text == "ab"
    with pytest.raises(UsageError, match="prompt holds 'ca', where a record ends"):
        GenerationRequest(generator, "bcab", config, seed=1, num=1)


def test_texts_end_when_all_have_met_the_stop_string() -> None:
    model = random_table()
    config = SamplingConfig(length=10_000, temperature=1.0, stop="c")
    texts = together(model, "", config, seed=1, num=3)
    assert len(model.read) == len(texts[0]) + 1 + max(len(text) for text in texts[1:]) + 1, (
        "the first alone"
    )
    assert len({len(text) for text in texts}) > 1
    full = together(random_table(), "", SamplingConfig(length=50, temperature=1.0), seed=1, num=3)
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
        pytest.param(
            "aé", "has 1 character that the model has never seen: 'é' (U+00E9).", id="one"
        ),
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
        request(random_table(), prompt, SamplingConfig())
    assert caught.value.message == "The prompt " + message
    assert "`unknown` skip" in caught.value.hint
    assert "`unknown` replace" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "`length` must be at least 1 .*, not 0"),
        ({"length": 1.5}, "`length` must be a whole number, not 1.5"),
        ({"temperature": -0.1}, "`temperature` must be at least 0 and at most 100, not -0.1"),
        ({"temperature": math.nan}, "`temperature` .* not nan"),
        ({"top_k": 0}, "`top_k` must be at least 1, not 0"),
        (
            {"top_p": 0.0},
            "`top_p` must be greater than 0 and at most 1, not 0.0",
        ),
        ({"top_p": 1.1}, "`top_p` must be greater than 0 and at most 1, not 1.1"),
        ({"min_p": 0.0}, "`min_p` must be greater than 0 and at most 1, not 0.0"),
        ({"min_p": 1.5}, "`min_p` must be greater than 0 and at most 1, not 1.5"),
        ({"no_repeat": 1}, "`no_repeat` must be at least 2 and at most 1000, not 1"),
        ({"stop": ""}, "`stop` must not be empty"),
        ({"stop": ["x", ""]}, "`stop` must not be empty"),
        ({"stop": 3}, "`stop` must be a list, not 3"),
        ({"stop": [3]}, "`stop` must be a string, not 3"),
        ({"until": ""}, "`until` must be a number of lines or sentences, such as 3lines, not ''"),
        ({"until": "3"}, "`until` must be a number of lines .* not '3'"),
        ({"until": "0lines"}, "`until` must be a number of lines .* not '0lines'"),
        ({"until": "-1 line"}, "`until` must be a number of lines .* not '-1 line'"),
        ({"until": "3 words"}, "`until` must be a number of lines .* not '3 words'"),
        ({"until": 3}, "`until` must be a string, not 3"),
        (
            {"unknown": "skp"},
            "`unknown` must be one of error, skip, replace, not 'skp'.\nDid you mean 'skip'?",
        ),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SamplingConfig(**options)


def test_settings_read_back() -> None:
    config = SamplingConfig(
        length=7,
        temperature=0,
        top_k=3,
        top_p=0.5,
        min_p=0.1,
        no_repeat=9,
        stop="\n",
        until="2lines",
        unknown="skip",
    )
    assert SamplingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_stop_strings_may_be_given_as_one_or_several() -> None:
    stops: dict[Any, tuple[str, ...]] = {"ab": ("ab",), None: (), ("ab", "c"): ("ab", "c")}
    for given_as, kept_as in stops.items():
        assert SamplingConfig(stop=given_as).stop == kept_as
    assert SamplingConfig(stop=["ab"]).stop == ("ab",)  # type: ignore[arg-type]
    assert SamplingConfig().stop == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "`seed` must be at least 0, not -1"),
        ({"seed": 1.5}, "`seed` must be a whole number, not 1.5"),
        ({"num": 0}, "`num` must be at least 1 and at most 65536, not 0"),
        ({"num": 70_000}, "`num` must be at least 1 and at most 65536, not 70000"),
    ],
)
def test_a_seed_and_a_number_out_of_range_are_refused_at_the_call(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        request(random_table(), "", SamplingConfig(), **options)


def test_control_characters_are_made_visible() -> None:
    assert visible("\x1b[31mred\x00\r\x7f\x9b") == r"\x1b[31mred\x00\x0d\x7f\x9b"
    assert visible("a\tb\nÜ—😉\xa0") == "a\tb\nÜ—😉\xa0"


# What was drawn, and what the model thought of it


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0}, {"top_k": 2, "min_p": 0.3}, {"no_repeat": 3}], ids=str
)
def test_log_probabilities_are_of_the_model_and_not_of_the_rules(options: dict[str, Any]) -> None:
    model = random_table()
    config = SamplingConfig(length=30, **options)
    one, two = request(model, "ab", config, num=2).all_samples()
    assert [one.text, two.text] == together(model, "ab", config, num=2)
    for sample in (one, two):
        assert FAKE.decode(sample.ids) == sample.text
        rows = model.table[[2, *sample.ids[:-1]]].astype(float)
        expected = [
            math.log(math.exp(row[i]) / sum(map(math.exp, row)))
            for row, i in zip(rows, sample.ids, strict=True)
        ]
        assert sample.log_probs == pytest.approx(expected)


def test_a_samples_symbols_include_those_of_the_stop_string() -> None:
    config = SamplingConfig(length=10, temperature=0, stop="ca")
    (sample,) = request(RowModel("abcabd"), "", config).all_samples()
    assert (sample.text, FAKE.decode(sample.ids), len(sample.log_probs)) == ("ab", "abca", 4)


def test_each_stream_of_a_group_ends_by_itself() -> None:
    config = SamplingConfig(length=50, temperature=1.0, stop="c")
    for sample in request(random_table(), "", config, num=6).all_samples():
        assert isinstance(sample, Sample)
        assert len(sample.ids) == len(sample.log_probs) == min(50, len(sample.text) + 1)
        assert FAKE.decode(sample.ids).partition("c")[0] == sample.text


RULES: list[dict[str, Any]] = [
    {"temperature": 0},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"no_repeat": 4},
    {"stop": ("ab", "f")},
    {"temperature": 1.3, "top_k": 5, "top_p": 0.95, "min_p": 0.02, "no_repeat": 3, "stop": "fff"},
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_the_first_of_several_is_the_one_alone_and_a_seed_is_a_text(
    model: Any, rules: dict[str, Any]
) -> None:
    config = SamplingConfig(length=60, **rules)
    several = together(model(), "ab", config, seed=3, num=5)
    assert written(model(), "ab", config, seed=3) == several[0]
    assert together(model(), "ab", config, seed=3, num=5) == several
    if rules.get("temperature") != 0:
        assert together(model(), "ab", config, seed=4, num=5) != several


@pytest.mark.parametrize(
    ("beside", "held"), [(2, 1 << 20), (256, 120), (256, 1)], ids=["width", "waiting", "one by one"]
)
def test_how_many_are_written_at_once_does_not_change_them(
    beside: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SamplingConfig(length=40)
    expected = together(random_table(), "ab", config, seed=3, num=6)
    monkeypatch.setattr(generate, "MAX_BATCH", beside)
    monkeypatch.setattr(generate, "MAX_WAITING", held)
    model = random_table()
    assert together(model, "ab", config, seed=3, num=6) == expected
    assert max(map(len, model.read)) == {2: 2, 120: 3, 1: 1}[min(beside, held)]
    assert model.read[:3] == [[model.start], [1], [2]], "the prompt is read once for all"
    assert model.read.count([model.start]) == 1


def test_the_first_text_is_there_before_the_others_are_begun() -> None:
    model = random_table()
    texts = request(model, "", SamplingConfig(length=1 << 40), num=5).texts()
    assert len("".join(islice(next(texts), 20))) == 20
    assert len(model.read) == 20


def test_memory_does_not_grow_with_the_length() -> None:
    """A million characters cost what a thousand do.

    What is held after many equals what was held after few.
    """
    import tracemalloc

    model: Any = small_numpy_model()
    config = SamplingConfig(
        length=1 << 40, no_repeat=9, stop="abcabc", until="9999999 lines", top_p=0.9
    )
    pieces = request(model, "", config).pieces(0)
    for _ in islice(pieces, 300):
        pass
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in islice(pieces, 3000):
        pass
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000
