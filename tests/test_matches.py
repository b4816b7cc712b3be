"""Matches, against the comparison of lists."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.model import ModelConfig
from charrnn.config.presets import MATCH_WINDOW, match_settings
from charrnn.data.encoding import Encoded
from charrnn.evaluation.score import ScoringProtocol
from charrnn.evaluation.scoring import token_nats
from charrnn.model import matching
from charrnn.model.match_embedding import MatchEmbedding
from charrnn.model.matching import followers, steps_back
from charrnn.model.network import CharRNN, build
from charrnn.model.numpy_matches import followers as numpy_followers

VOCAB = 5
windows, lengths = st.integers(1, 40), st.integers(1, 5)


def config_of(window: int = 20, length: int = 2, **settings: Any) -> ModelConfig:
    sizes = {"vocab_size": VOCAB, "hidden_size": 8, "embedding_size": 4}
    return ModelConfig(match_window=window, match_length=length, **sizes | settings)


def naive(codes: list[int], config: ModelConfig) -> list[int]:
    """Return how many steps before the last one its matches are; 0 for none."""
    end, found = len(codes), []
    for length in config.match_lengths:
        back = range(1, config.match_window + 1)
        same = (n for n in back if codes[end - n - length : end - n] == codes[end - length :])
        found.append(next(same, 0))
    return found


def codes_of(data: Any, config: ModelConfig, most: int = 30) -> list[int]:
    """Draw a few codes that repeat often, as many as a history and some steps."""
    new = data.draw(st.integers(1, most))
    alphabet = data.draw(st.sampled_from([[1, 2], [0, 1, 2, 3], [1, 256, 65536, 65537, 1 << 20]]))
    size = config.match_history + new
    return data.draw(st.lists(st.sampled_from(alphabet), min_size=size, max_size=size))  # type: ignore[no-any-return]


@given(window=windows, length=lengths, data=st.data())
def test_matches_are_those_of_lists(window: int, length: int, data: Any) -> None:
    config = config_of(window, length)
    codes, history = codes_of(data, config), config.match_history
    expected = [naive(codes[: end + 1], config) for end in range(history, len(codes))]
    followed = [
        [codes[end + 1 - n] if n else 0 for n in row] for end, row in enumerate(expected, history)
    ]
    batch = torch.tensor([codes, codes])
    assert steps_back(batch, config).tolist() == [expected, expected]
    assert followers(batch, config).tolist() == [followed, followed]
    for end, row in enumerate(followed, history):
        recent = np.array(codes[end - history : end + 1], np.float32)
        assert numpy_followers(recent, config) == row


def test_keys_are_sorted_by_torch_where_numpy_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randint(0, 4, (3, 80), generator=torch.Generator().manual_seed(1))
    config = config_of()
    expected = steps_back(codes, config)
    monkeypatch.setattr(matching, "_sorted", lambda keys: keys.sort(dim=1).values)
    assert torch.equal(steps_back(codes, config), expected)
    assert expected.any()


def test_different_symbols_are_seldom_taken_for_equal() -> None:
    """Beside the comparison of all pairs, where a step before has almost the same symbols."""
    config = config_of(4096, 4, vocab_size=300)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 300, (4, config.match_history + 500), generator=generator)
    codes[:, 1::2] = 7  # every other symbol, so that n-grams differ in few places
    for place, length in enumerate(config.match_lengths):
        ngrams = codes.unfold(1, length, 1)
        for row, steps in zip(ngrams.tolist(), steps_back(codes, config)[..., place], strict=True):
            last: dict[tuple[int, ...], int] = {}
            expected = []
            for number, ngram in enumerate(map(tuple, row)):
                expected.append(number - last[ngram] if ngram in last else 0)
                last[ngram] = number
            expected = expected[-500:]
            assert steps.tolist() == [n if n <= config.match_window else 0 for n in expected]


@given(cut=st.integers(1, 29), window=windows, length=lengths, data=st.data())
def test_it_does_not_matter_how_a_text_is_cut(
    cut: int, window: int, length: int, data: Any
) -> None:
    config = config_of(window, length)
    module, history = MatchEmbedding(config), torch.zeros(1, config.match_history)
    ids = torch.tensor([data.draw(st.lists(st.integers(0, VOCAB), min_size=30, max_size=30))])
    embedding = torch.randn(VOCAB + 1, 4, generator=torch.Generator().manual_seed(1))
    whole, last = module(ids, history, embedding)
    first, between = module(ids[:, :cut], history, embedding)
    second, end = module(ids[:, cut:], between, embedding)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    assert torch.equal(end, last)


def test_the_embedding_of_what_followed_and_zeros_without_a_match() -> None:
    config = config_of(length=1)
    module, embedding = MatchEmbedding(config), torch.randn(VOCAB + 1, 4)
    start, a, b = VOCAB, 1, 2
    ids = torch.tensor([[start, a, b, a, b, a]])
    found, history = module(ids, torch.zeros(1, config.match_history), embedding)
    known = found.view(6, 3, 4)  # of 1, 2 and 3 symbols
    expected = torch.zeros(6, 3, 4)
    expected[3, 0] = expected[5, 0] = expected[5, 1] = expected[5, 2] = embedding[b]
    expected[4, 0] = expected[4, 1] = embedding[a]
    assert torch.equal(known, expected)
    assert history[0, -6:].tolist() == [0, 2, 3, 2, 3, 2]
    assert history.dtype == torch.float32


def with_weights(config: ModelConfig) -> CharRNN:
    model = build(config, seed=1).eval()
    assert model.matches is not None
    for weight in model.matches.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(2))
    return model


def test_new_weights_change_nothing() -> None:
    ids = torch.arange(VOCAB).repeat(3)[None]
    with_them, without = build(config_of(length=1), seed=3), build(config_of(0), seed=3)
    assert torch.equal(with_them(ids)[0], without(ids)[0])


@pytest.mark.parametrize("settings", [{}, {"ngram_embedding": 3, "ngram_path": "both"}], ids=str)
def test_what_followed_reaches_both_ends_of_the_network(settings: dict[str, Any]) -> None:
    model = with_weights(config_of(length=1, num_layers=2, **settings))
    ids, state = torch.tensor([[VOCAB, 3, 1, 3, 1, 4, 3]]), model.initial_state(1)
    found, _ = model.matches(ids, state[-1], model.embedding.weight)
    sums = model.ngrams(ids, state[-2])[0] if model.ngrams else torch.zeros(1, 7, 4)
    with torch.no_grad():
        for table in model.tables():
            assert not table.any()
    values = model.embedding(ids) + sums + found @ model.matches.input_weight.T
    for layer, before in zip(model.layers, model.cell_states(state), strict=True):
        values, _ = layer(values, before)
    values = values + found @ model.matches.output_weight.T
    torch.testing.assert_close(model.hidden(ids)[0], values)
    assert found.any()


def test_a_symbol_changes_nothing_before_it() -> None:
    model = with_weights(config_of(length=1))
    ids = torch.randint(0, VOCAB, (1, 40), generator=torch.Generator().manual_seed(3))
    expected = model(ids)[0]
    for place in (0, 7, 39):
        other = ids.clone()
        other[0, place] = (other[0, place] + 1) % VOCAB
        found = model(other)[0]
        assert torch.equal(found[:, :place], expected[:, :place])
        assert not torch.equal(found[:, place], expected[:, place])


def test_words_never_seen_before_are_copied() -> None:
    """Random words that are said twice, of which the second time is known after two symbols."""
    letters, size, words = 20, 8, 5
    generator = torch.Generator().manual_seed(4)

    def text() -> torch.Tensor:
        one = torch.randint(0, letters, (16, words, 1, size), generator=generator)
        return one.expand(-1, -1, 2, -1).flatten(1)

    def train(window: int) -> float:
        model = build(config_of(window, 2, vocab_size=letters, embedding_size=16), seed=1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(200):
            ids = text()
            loss = model.loss(model.hidden(ids[:, :-1])[0], ids[:, 1:]) / ids[:, 1:].numel()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert train(0) > 0.95 * np.log(letters)
    share = (size + 2) / (2 * size)  # that nothing can predict: a word, and two letters of the next
    assert train(2 * size) < 1.15 * share * np.log(letters)


def nats(model: CharRNN, ids: np.ndarray[Any, Any], protocol: ScoringProtocol) -> Any:
    found = np.zeros(len(ids))
    for positions, losses in token_nats(model, Encoded(ids, len(ids), len(ids)), protocol):
        found[positions] = losses
    return found


def test_segments_are_scored_as_if_all_before_them_had_been_read() -> None:
    """With layers that say nothing, so that matches alone matter."""
    model = with_weights(config_of(window=60, length=1))
    with torch.no_grad():
        for layer in model.layers:
            layer.norm.weight.zero_()
    ids = np.random.default_rng(5).integers(0, VOCAB, 300)
    expected = nats(model, ids, ScoringProtocol.exact())
    found = nats(model, ids, ScoringProtocol(segment=40, warmup=5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    alone = nats(model, ids, ScoringProtocol.reset(40))
    assert (np.abs(alone - expected) < 1e-4).mean() < 0.7
    block = np.concatenate([[VOCAB], ids[79:119]])  # one symbol before it is its context
    logits = model(torch.from_numpy(block[None]))[0][0, 1:].detach()
    target = torch.from_numpy(ids[80:120])
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    np.testing.assert_allclose(alone[80:120], losses.numpy(), rtol=1e-4, atol=1e-5)


@given(record=st.floats(1, 1e9), characters=st.integers(2, 1 << 40))
def test_a_window_suits_text_records_and_tokenizer(record: float, characters: int) -> None:
    for kind in ("char", "byte", "word", "bpe"):
        found = match_settings(kind, characters, record)["match_window"]
        assert found in (0, *(1 << power for power in range(13)))
        assert bool(found) == (record >= 200)
    assert match_settings("char", characters, batcher="random") == {"match_window": 0}
    assert match_settings("char", 10**7) == {"match_window": MATCH_WINDOW, "match_length": 4}
    assert match_settings("bpe", 10**7) == {"match_window": MATCH_WINDOW, "match_length": 2}
