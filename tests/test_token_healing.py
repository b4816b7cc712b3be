"""Prompts that end inside of a word: what may follow, by looking at every symbol.

What is written, by its text.
"""

from typing import Any

import numpy as np
import pytest
from fakes import request, written
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config.model import ModelConfig
from charrnn.config.sampling import SamplingConfig
from charrnn.model.numpy_model import NumpyModel
from charrnn.model.shapes import weight_shapes
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.logits import log_softmax
from charrnn.sampling.stopping import Detokenizer
from charrnn.sampling.token_healing import open_tail
from charrnn.tokenizers import KINDS, CharTokenizer, Tokenizer, WordTokenizer, train_tokenizer

VERSE = "What was that? Whatever: that cat sat on the mat, the hat, the chat.\n" * 8
TOKENIZERS = {kind: train_tokenizer(kind, [VERSE]) for kind in KINDS}
HEALED = ("word", "bpe", "unigram")
WORDS = WordTokenizer.train([VERSE])


def random_model(tokenizer: Tokenizer) -> NumpyModel:
    config = ModelConfig(vocab_size=tokenizer.size, hidden_size=8, embedding_size=4, num_layers=1)
    rng = np.random.default_rng(3)
    return NumpyModel(
        config, {name: rng.normal(size=shape) for name, shape in weight_shapes(config).items()}
    )


MODELS: dict[str, Any] = {kind: random_model(tokenizer) for kind, tokenizer in TOKENIZERS.items()}


def id_of(text: str) -> int:
    (id_,) = WORDS.encode(text).tolist()
    return int(id_)


def test_the_last_word_may_go_on() -> None:
    words = WordTokenizer.train(["the\nthe then the then the"])
    the, then = (int(words.encode(f"the{unit}")[1]) for unit in (" the", " then"))
    tail = open_tail(words, words.encode("the the"))
    assert (tail.ids, tail.begin, tail.characters) == ((the,), 1, 4)
    assert tail.allowed == [sorted([the, then])]


def test_a_word_that_is_spelled_may_become_one_that_is_not() -> None:
    ids = WORDS.encode("What wa")
    assert ids.tolist() == [id_of("What"), *b" wa"]
    tail = open_tail(WORDS, ids)
    assert tail.ids == tuple(b" wa")
    assert tail.allowed == [[ord(" "), id_of(" was")], [ord("w")], [ord("a")]]


@pytest.mark.parametrize("kind", ["char", "byte"])
@given(prompt=st.text(st.sampled_from("What sad?\n")))
def test_characters_and_bytes_have_no_open_end(kind: str, prompt: str) -> None:
    tail = open_tail(TOKENIZERS[kind], TOKENIZERS[kind].encode(prompt))
    assert (tail.ids, tail.begin, tail.characters) == ((), len(prompt), 0)


@pytest.mark.parametrize("kind", HEALED)
@given(end=st.integers(0, 140), extra=st.sampled_from(["", "\u00e9", "\u2581", "qu", " "]))
def test_every_symbol_that_goes_beyond_the_prompt_is_considered(
    kind: str, end: int, extra: str
) -> None:
    tokenizer = TOKENIZERS[kind]
    prompt = VERSE[:end] + extra
    ids = tokenizer.encode(prompt)
    tail = open_tail(tokenizer, ids)
    assert [*ids[: tail.begin].tolist(), *tail.ids] == ids.tolist()
    for place in range(len(ids)):
        rest = b"".join(tokenizer.spell(id_) for id_ in ids[place:].tolist())
        beyond = {id_ for id_ in range(tokenizer.size) if tokenizer.spell(id_).startswith(rest)}
        if place < tail.begin:
            assert beyond <= {int(ids[place])}
        else:
            assert set(tail.allowed[place - tail.begin]) == beyond | {int(ids[place])}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(end=st.integers(0, 140), seed=st.integers(0, 99), length=st.integers(1, 30))
def test_the_prompt_is_spelled_again_and_not_repeated(
    kind: str, end: int, seed: int, length: int
) -> None:
    """Whatever a model without sense draws.

    What it read and what it wrote begin with the prompt, to the byte.
    """
    tokenizer, prompt = TOKENIZERS[kind], VERSE[:end]
    if kind == "char" and not end:
        return
    read: list[int] = []

    class Noting(NumpyModel):
        def step(self, ids: Any, state: Any) -> Any:
            read.append(int(ids[0]))
            return super().step(ids, state)

    model = Noting(MODELS[kind].config, weights_of(kind))
    rules = SamplingConfig(length=length, temperature=2.0)
    text = written(model, prompt, rules, seed=seed, tokenizer=tokenizer)
    assert len(text) == length
    spelled = b"".join(tokenizer.spell(id_) for id_ in read[1:])
    assert spelled.startswith(prompt.encode()) or prompt.encode().startswith(spelled)
    assert (prompt + text).startswith(
        spelled.decode(errors="replace").rstrip("\ufffd")[: len(prompt) + length]
    )


def weights_of(kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        name: rng.normal(size=shape) for name, shape in weight_shapes(MODELS[kind].config).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_constrained_each_by_itself(kind: str) -> None:
    """Some go on with a longer symbol at once, others spell.

    The first is always the stream alone.
    """
    rules = SamplingConfig(length=12, temperature=3.0)
    asked = request(MODELS[kind], "What wa", rules, seed=4, num=6, tokenizer=TOKENIZERS[kind])
    texts = ["".join(pieces) for pieces in asked.texts()]
    assert {len(text) for text in texts} == {12}
    alone = written(MODELS[kind], "What wa", rules, seed=4, tokenizer=TOKENIZERS[kind])
    assert texts[0] == alone


class Sure:
    """Predicts one symbol, whatever it reads; notes what that is."""

    start = WORDS.size

    def __init__(self, symbol: int) -> None:
        self.logits = np.zeros(WORDS.size)
        self.logits[symbol] = 60
        self.read: list[int] = []

    def initial_state(self, batch: int) -> Any:
        return ()

    def step(self, ids: Any, state: Any) -> Any:
        self.read.append(int(ids[0]))
        return np.tile(self.logits, (len(ids), 1)), ()


def test_probabilities_decide_between_the_word_and_its_beginning() -> None:
    rules = SamplingConfig(length=3)
    assert written(Sure(id_of(" was")), "What wa", rules, tokenizer=WORDS) == "s w"
    assert written(Sure(ord(" ")), "What wa", rules, tokenizer=WORDS) == "   "


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["What wa", "What was that? Whatever: th", "the \u00e9", "cat "])
@pytest.mark.parametrize("settings", [{}, {"no_repeat": 2}, {"until": "2sentences"}], ids=str)
def test_the_first_turn_of_a_conversation_is_a_sample(
    kind: str, prompt: str, settings: dict[str, Any]
) -> None:
    rules = SamplingConfig(**{"length": 25, "temperature": 2.0, "unknown": "skip"} | settings)
    talk = Conversation(MODELS[kind], TOKENIZERS[kind], rules, 7)
    talk.say(prompt)
    sample = written(MODELS[kind], prompt, rules, seed=7, tokenizer=TOKENIZERS[kind])
    assert "".join(talk.write()) == sample


def test_every_turn_is_spelled_again() -> None:
    model = Sure(id_of(" was"))
    talk = Conversation(model, WORDS, SamplingConfig(length=5), 0)
    for _ in range(2):
        talk.say("What wa")
        assert "".join(talk.write()) == "s was"
    assert model.read == [model.start, *2 * [id_of("What"), id_of(" was"), id_of(" was")]][:-1]


def test_what_the_model_did_not_go_on_from_is_read_as_it_is() -> None:
    model = Sure(id_of(" was"))
    talk = Conversation(model, WORDS, SamplingConfig(length=4), 0)
    talk.say("What wa")
    talk.say("\nthe")
    assert "".join(talk.write()) == " was"
    assert model.read == [
        model.start,
        *WORDS.encode("What wa").tolist(),
        *WORDS.encode("\nthe").tolist(),
    ]


@pytest.mark.parametrize("kind", HEALED)
@pytest.mark.parametrize("prompt", ["What wa", "the \u00e9", "Whatever: th", "What"])
def test_log_probabilities_are_the_models_own_and_of_what_is_new(kind: str, prompt: str) -> None:
    """Against the model, which reads from the start symbol on what no rule has touched."""
    model, tokenizer = MODELS[kind], TOKENIZERS[kind]
    rules = SamplingConfig(length=6, temperature=2.0, no_repeat=3, top_k=5)
    for sample in request(model, prompt, rules, num=4, tokenizer=tokenizer).all_samples():
        candidates = list(own_log_probs(model, tokenizer, prompt, sample.ids))
        assert any(np.allclose(sample.log_probs, own, atol=1e-4) for own in candidates)


def own_log_probs(model: Any, tokenizer: Tokenizer, prompt: str, new: tuple[int, ...]) -> Any:
    """Yield the model's log probabilities of new symbols, for each way to read the prompt.

    The first of them goes beyond the prompt, whose last symbol may have become bytes.
    """
    ids, whole = tokenizer.encode(prompt).tolist(), prompt.encode()
    ways = [ids[:count] for count in range(len(ids) + 1)]
    for before in [*ways, [*ids[:-1], *tokenizer.spell(ids[-1])]]:
        text = b"".join(map(tokenizer.spell, [*before, new[0]]))
        if text.startswith(whole) and text != whole:
            read = np.array([[model.start, *before, *new[:-1]]])
            logits, _ = model.run(read, model.initial_state(1))
            yield log_softmax(logits[0, len(before) :])[np.arange(len(new)), list(new)]


def test_a_detokenizer_skips_the_tail_and_ends_after_the_length() -> None:
    text = Detokenizer(CharTokenizer("abcdef"), SamplingConfig(length=3), skip=2)
    assert [text.feed(id_) for id_ in (1, 2, 3, 4, 5, 6)] == ["", "", "c", "d", "e", ""]
    assert (text.stop.reached, text.flush()) == (True, "")
