"""Blends: the mean of predictions written out, in NumPy and in torch, over united vocabularies."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from all_pairs import all_pairs, settings_id
from hypothesis import given
from hypothesis import strategies as st
from models import saved

from charrnn.config.cells import CELLS
from charrnn.errors import UsageError
from charrnn.evaluation.networks import network_of
from charrnn.model.blend import Mixing
from charrnn.storage.blend import SavedBlend, numpy_model
from charrnn.storage.model_file import SavedModel
from charrnn.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from charrnn.tokenizers.base import ENCODABLE
from charrnn.tokenizers.union import symbol_map, union

BATCH, TIME = 3, 7
CHARS = CharTokenizer("abcé"), CharTokenizer("dbxyz")
WORDS = WordTokenizer("éß", "the\0 a\0é\0x"), WordTokenizer("üé", "the\0 bß\0 éü\0é\0y")
GRID = all_pairs(
    tuple({"cell": cell} for cell in CELLS),
    ({"num_layers": 1}, {"num_layers": 2}),
    ({"attention": 0}, {"attention": 3}),
    (
        {"ngram_embedding": 0},
        {"ngram_embedding": 3, "ngram_rows": 20, "ngram_path": "input"},
        {"ngram_embedding": 3, "ngram_rows": 20, "ngram_path": "output"},
        {"ngram_embedding": 3, "ngram_rows": 20, "ngram_path": "both"},
    ),
    (
        {"match_window": 0},
        {"match_window": 9, "match_length": 1},
        {"match_window": 4, "match_length": 2},
    ),
    ({"adaptive": False}, {"adaptive": True}),
)
NEIGHBOURS = list(pairwise([*GRID, GRID[0]]))
SENTENCES = st.text("ab \u00e9\u00fc\u4e2d\n.!", min_size=1, max_size=40)


def blend_of(*members: SavedModel, mixing: Mixing) -> SavedBlend:
    tokenizer = union([one.tokenizer for one in members])
    return SavedBlend(("a",) * len(members), members, mixing, tokenizer)


def run(saved: SavedModel | SavedBlend, ids: np.ndarray) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the probabilities after each symbol, in float64, and the last state."""
    model, rows = numpy_model(saved), []
    state: Any = model.initial_state(len(ids))
    for column in ids.T:
        logits, state = model.step(column, state)
        weights = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
        rows.append(weights / weights.sum(axis=-1, keepdims=True))
    return np.stack(rows, axis=1), state


def some_ids(size: int) -> np.ndarray:
    ids = np.random.default_rng(3).integers(0, size, (BATCH, TIME))
    ids[:, 0] = size
    return ids


def unknown_probability(model: CharTokenizer, probabilities: np.ndarray, point: str) -> np.ndarray:
    """What a model gives to one code point: its symbol, or a uniform choice among the unknown."""
    if point in model.characters:
        return probabilities[..., 1 + model.characters.index(point)]
    return probabilities[..., 0] / (ENCODABLE - len(model.characters))


@pytest.mark.parametrize("rule", ["linear", "geometric"])
def test_mixes_probabilities_as_the_formula_says(rule: str) -> None:
    members = [saved(CHARS[0], hidden_size=size) for size in (8, 5, 11)]
    weights = np.array([0.5, 0.2, 0.3])
    ids = some_ids(CHARS[0].size)
    each = np.stack([run(one, ids)[0] for one in members])
    if rule == "linear":
        expected = np.einsum("m,mbtv->btv", weights, each)
    else:
        expected = np.prod(each ** weights[:, None, None, None], axis=0)
        expected /= expected.sum(axis=-1, keepdims=True)

    found, _ = run(blend_of(*members, mixing=Mixing(tuple(weights), rule)), ids)

    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("tokenizers", [CHARS, WORDS], ids=["char", "word"])
@pytest.mark.parametrize("rule", ["linear", "geometric"])
def test_probabilities_add_up_to_one_whatever_each_member_knows(
    rule: str, tokenizers: tuple[Tokenizer, ...]
) -> None:
    members = [saved(one, hidden_size=size) for one, size in zip(tokenizers, (8, 5), strict=True)]
    blend = blend_of(*members, mixing=Mixing((0.7, 0.3), rule))
    model = numpy_model(blend)
    logits, _ = model.step(np.array([model.start]), model.initial_state(1))

    assert logits.shape == (1, blend.tokenizer.size)
    assert np.exp(logits.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
    for one in blend.members:  # and so do those of each member, before they are mixed
        symbols = symbol_map(one.tokenizer, blend.tokenizer)
        assert symbols is not None
        shares = np.bincount(symbols.outputs, np.exp(symbols.log_shares.astype(np.float64)))
        np.testing.assert_allclose(shares, 1, atol=1e-6)


def test_characters_are_charged_to_each_member_as_in_its_own_vocabulary() -> None:
    members = saved(CHARS[0], hidden_size=8), saved(CHARS[1], hidden_size=5)
    blend = blend_of(*members, mixing=Mixing((0.7, 0.3)))
    text = "abxé?dz"
    own = []
    for one in members:
        tokenizer: Any = one.tokenizer
        ids = np.concatenate([[tokenizer.size], tokenizer.encode(text[:-1])])[None].astype(int)
        (rows,), _ = run(one, ids)
        own.append([unknown_probability(tokenizer, *both) for both in zip(rows, text, strict=True)])
    expected = 0.7 * np.array(own[0]) + 0.3 * np.array(own[1])

    ids = np.concatenate([[blend.tokenizer.size], blend.tokenizer.encode(text[:-1])])[None]
    (rows,), _ = run(blend, ids.astype(int))
    union_tokenizer: Any = blend.tokenizer
    found = [unknown_probability(union_tokenizer, *both) for both in zip(rows, text, strict=True)]

    assert union_tokenizer.characters == "abcédxyz"
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_member_reads_and_predicts_foreign_words_by_their_spelling() -> None:
    member, blend = WORDS[0], union(WORDS)
    assert isinstance(blend, WordTokenizer)
    assert blend.characters == "éßü"
    assert blend.units.split("\0") == ["the", " a", "é", "x", " bß", " éü", "y"]
    symbols = symbol_map(member, blend)
    assert symbols is not None
    spelled = {  # the symbols of the member that begin and end a foreign symbol
        256 + 2: ("ü".encode()[0], "ü".encode()[-1]),
        256 + 3 + 4: (ord(" "), 256 + 1),  # " bß"
        256 + 3 + 5: (ord(" "), "ü".encode()[-1]),  # " éü"
        256 + 3 + 6: (ord("y"), ord("y")),
    }
    for symbol, (first, last) in spelled.items():
        assert (symbols.outputs[symbol], symbols.inputs[symbol]) == (first, last)
    share = np.exp(symbols.log_shares)
    np.testing.assert_allclose(share[[ord(" "), 256 + 3 + 4, 256 + 3 + 5]], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(share[[ord("y"), 256 + 3 + 6]], [0.5, 0.5])
    np.testing.assert_allclose(share[[ord("q"), 256, 256 + 3]], 1)
    assert symbols.inputs[-1] == member.size


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
)
def test_a_union_knows_what_its_parts_know_and_maps_it_back(one: str, other: str) -> None:
    first, second = CharTokenizer.train([one]), CharTokenizer.train([other])
    whole = union([first, second])
    assert whole.unknown_characters(one + other) == []
    for part in (first, second):
        symbols = symbol_map(part, whole)
        ids = whole.encode(one + other)
        found = ids if symbols is None else symbols.outputs[ids]
        assert found.tolist() == part.encode(one + other).tolist()


@given(SENTENCES, SENTENCES)
def test_a_union_of_words_divides_each_prediction_completely(one: str, other: str) -> None:
    parts = WordTokenizer.train([2 * one]), WordTokenizer.train([2 * other])
    whole = union(parts)
    assert whole.decode(whole.encode(one + other)) == one + other
    for part in parts:
        symbols = symbol_map(part, whole)
        if symbols is None:
            assert part == whole
            continue
        shares = np.bincount(symbols.outputs, np.exp(symbols.log_shares.astype(np.float64)))
        np.testing.assert_allclose(shares, 1, atol=1e-6)
        assert 0 <= symbols.inputs.min() <= symbols.inputs[:-1].max() < part.size


def test_equal_vocabularies_are_not_mapped() -> None:
    for tokenizer in (CHARS[0], WORDS[0], ByteTokenizer()):
        assert union([tokenizer, tokenizer]) == tokenizer
        assert symbol_map(tokenizer, tokenizer) is None


def test_the_same_characters_in_another_order_are_only_put_in_order() -> None:
    first, second = CharTokenizer("abc"), CharTokenizer("cab")
    symbols = symbol_map(second, union([first, second]))
    assert symbols is not None
    assert symbols.outputs.tolist() == [0, 2, 3, 1]
    np.testing.assert_allclose(symbols.log_shares, 0, atol=1e-6)


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(UsageError, match="char and byte share no symbols"):
        union([CHARS[0], ByteTokenizer()])


@pytest.mark.parametrize("settings", NEIGHBOURS, ids=lambda two: settings_id(two[0]))
@torch.no_grad()
def test_numpy_equals_torch_over_cells_and_settings(settings: Any) -> None:
    tokenizers = CharTokenizer("abcdefgé"), CharTokenizer("zyxhdcb")
    members = [saved(one, **of) for one, of in zip(tokenizers, settings, strict=True)]
    rule = "geometric" if members[0].config.attention else "linear"
    blend = blend_of(*members, mixing=Mixing((0.6, 0.4), rule))
    network, ids = network_of(blend), some_ids(blend.tokenizer.size)

    expected, expected_state = network(torch.from_numpy(ids))
    first, state = network(torch.from_numpy(ids[:, :4]))
    second, state = network(torch.from_numpy(ids[:, 4:]), state)
    found, found_state = run(blend, ids)

    torch.testing.assert_close(torch.cat([first, second], dim=1), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.log(found), expected.numpy(), rtol=1e-4, atol=1e-4)
    assert len(found_state) == len(expected_state)
    for ours, theirs, carried in zip(found_state, expected_state, state, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(carried, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["linear", "geometric"])
@torch.no_grad()
def test_a_model_blended_with_itself_is_itself(rule: str) -> None:
    model = saved(CHARS[0])
    blend = blend_of(model, model, mixing=Mixing((0.7, 0.3), rule))
    ids = some_ids(CHARS[0].size)
    alone, _ = run(model, ids)
    together, _ = run(blend, ids)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    logits, _ = network_of(blend)(torch.from_numpy(ids))
    np.testing.assert_allclose(logits.exp().numpy(), alone, rtol=0, atol=1e-6)
